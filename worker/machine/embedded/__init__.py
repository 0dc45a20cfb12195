"""PostgreSQL and Redis for a machine that has neither, under one home folder.

A process that needs them holds a lease. The first lease starts both servers, later ones share them,
and the end of the last one stops them. A lease is a file lock, so it is released when its holder is
killed. If all were killed, the servers keep running until the next lease takes them over.
"""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg

from worker.machine.embedded import files, postgresql, redis
from worker.machine.embedded.server import EmbeddedServersError
from worker.machine.homes import addresses
from worker.machine.signals import exiting_when_told, undisturbed

__all__ = ["EmbeddedServersError", "Servers", "lease", "revive", "running", "scratch"]

SCRATCH = "keypool-scratch-"


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
    database, broker = postgresql.server(home).process(), redis.server(home).process()
    urls = addresses(home)
    if not (urls and database and broker):
        return None
    return Servers(home=home, **urls, postgres_pid=database.pid, redis_pid=broker.pid)


@contextmanager
def lease(home: Path, *, durable: bool = True) -> Iterator[Servers]:
    """Hold a lease on the home's servers, starting what does not run; the last lease stops them.

    Any number of processes may hold any number of leases. A further lease also restarts servers
    that were killed meanwhile, at the same addresses. While a lease is held, SIGTERM and SIGHUP
    without a handler raise SystemExit, so that the lease is released in order.

    Args:
        home: the folder of data, logs and passwords; made if it is missing.
        durable: False lets servers that this call starts lose their data in a crash: for tests.

    Raises:
        EmbeddedServersError: a server did not start; the message says why or names its log.
    """
    home = home.resolve()
    with _failing_plainly():
        (home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    holder = os.getpid()
    with exiting_when_told(), (home / "run" / "lease").open("w") as held:
        try:
            with _starting_or_stopping(home), undisturbed(), _failing_plainly():
                fcntl.flock(held, fcntl.LOCK_SH)
                servers = running(home) or _start(home, durable)
            yield servers
        finally:
            if os.getpid() == holder:  # a forked child must not release its parent's lease
                with undisturbed(), _starting_or_stopping(home):
                    if _is_last(held):
                        _stop(home)


def revive(home: Path) -> None:
    """Restart a home's servers that were killed while somebody holds a lease."""
    if running(home) is None:
        with lease(home):
            pass


@contextmanager
def scratch(*, durable: bool = True) -> Iterator[Servers]:
    """Hold servers in a temporary home, which is deleted afterwards.

    Also removes temporary homes of killed holders, with their servers.
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
    # A home that is being made has no servers.json yet, and is skipped.
    if home.stat().st_uid != os.geteuid() or not (home / "run" / "servers.json").exists():
        return
    with (home / "run" / "lease").open("w") as held, _starting_or_stopping(home), undisturbed():
        if _is_last(held):
            _stop(home)
            shutil.rmtree(home, ignore_errors=True)


def _start(home: Path, durable: bool) -> Servers:
    (home / "log").mkdir(exist_ok=True)
    passwords, sockets = files.passwords(home), files.socket_folder(home)
    with ThreadPoolExecutor(1) as beside:
        broker = beside.submit(redis.start, home, sockets, passwords["redis"], durable)
        postgresql.start(home, sockets, passwords, durable)
        broker.result()
    database = "postgresql+psycopg://{0}:{1}@/keypool?host={2}&port=5432".format
    urls = {
        "database_url": database("keypool", passwords["keypool"], sockets),
        "web_database_url": database("keypool_web", passwords["keypool_web"], sockets),
        "analyst_database_url": database("keypool_analyst", passwords["keypool_analyst"], sockets),
        "redis_url": f"redis+socket://keypool:{passwords['redis']}@{sockets}/redis.sock",
    }
    files.write_private(home / "run" / "servers.json", json.dumps(urls))
    if servers := running(home):
        return servers
    raise EmbeddedServersError(f"The embedded servers ended at once; see {home / 'log'}.")


def _stop(home: Path) -> None:
    (home / "run" / "servers.json").unlink(missing_ok=True)
    redis.server(home).stop()
    postgresql.server(home).stop()
    files.remove_socket_folder(home)


@contextmanager
def _starting_or_stopping(home: Path) -> Iterator[None]:
    with (home / "run" / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_last(held: IO[str]) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(held, fcntl.LOCK_UN)  # now, so that the next to leave does not find it held
        return False
    return True


@contextmanager
def _failing_plainly() -> Iterator[None]:
    try:
        yield
    except (OSError, psycopg.Error, subprocess.SubprocessError) as error:
        raise EmbeddedServersError(f"The embedded servers cannot start: {error}") from error
