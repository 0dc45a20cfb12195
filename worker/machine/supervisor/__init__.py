"""The supervisor of one machine: it starts services, restarts those that die, and stops them all.

A service runs in a session of its own, so that a terminal's Ctrl-C does not reach it, and is stopped
by SIGTERM. A thread starts the services, so that no interrupt falls between starting a process and
noting its id. If this process is killed, a guard ends the services.
"""

import errno
import http.client
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from worker.errors import KeypoolError
from worker.logs import log
from worker.machine.signals import exiting_when_told, interruptible, undisturbed
from worker.machine.supervisor.guard import Guard
from worker.machine.supervisor.service import Child, Service

__all__ = [
    "PortTakenError",
    "Service",
    "ServiceFailedError",
    "Supervision",
    "answers",
    "require_free",
    "services",
    "supervised",
]

TICK = 0.05  # seconds
UPKEEP = 1  # seconds


class PortTakenError(KeypoolError):
    """The port is taken; choose another."""


class ServiceFailedError(KeypoolError):
    """A service does not start."""


class Supervision:
    """Services under supervision, from `supervised`."""

    def __init__(
        self, services: Sequence[Service], logs: Path, upkeep: Callable[[], object]
    ) -> None:
        self._guard, self._upkeep, self._upkeep_at = Guard(), upkeep, 0.0
        self._children = [Child(service, logs, self._guard) for service in services]
        self._stopping, self._hurrying, self._idle = (threading.Event() for _ in range(3))
        self._idle.set()
        self._failure: Exception | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by their services' names."""
        running = [(child.service.name, child.process) for child in self._children]
        return {name: process.pid for name, process in running if process}

    def wait_until_ready(
        self, seconds: float = 60, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        """Wait until every service works, and call `tell` with the name of each when it does.

        Raises:
            ServiceFailedError: one keeps ending, or takes too long.
        """
        deadline, waiting = time.monotonic() + seconds, self._children[:]
        while waiting:
            for child in [child for child in waiting if child.ready()]:
                waiting.remove(child)
                tell(child.service.name)
            over = time.monotonic() > deadline or self._idle.is_set()
            if failed := [child for child in waiting if over or child.deaths >= 3]:
                raise ServiceFailedError(
                    f"The {failed[0].service.name} service does not start"
                    f" ({failed[0].last_words() or 'it says nothing'}); see {failed[0].log}."
                )
            time.sleep(TICK)

    def wait(self) -> None:
        """Supervise the services until a signal ends this process."""
        self._idle.wait()
        if self._failure:
            raise self._failure

    def start(self) -> None:
        """Start the thread that supervises the services."""
        with undisturbed():
            self._idle.clear()
            threading.Thread(target=self._run, name="supervisor").start()

    def stop(self) -> None:
        """End every service and wait for it; another Ctrl-C kills them."""
        self._stopping.set()
        while not self._idle.is_set():  # not join: once interrupted, it says the thread has ended
            try:
                self._idle.wait()
            except (KeyboardInterrupt, SystemExit):
                self._hurrying.set()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(TICK):
                self._tend(time.monotonic())
        except Exception as error:
            self._failure = error
        finally:
            self._end_all()
            self._idle.set()

    def _tend(self, now: float) -> None:
        self._guard.replace_if_dead(self.pids.values())
        for child in self._children:
            child.tend(now)
        if now >= self._upkeep_at:
            self._upkeep_at = now + UPKEEP
            try:
                self._upkeep()
            except Exception as error:  # retried in a second; the services must stay supervised
                log.warning("upkeep failed", error=str(error))

    def _end_all(self) -> None:
        for child in self._children:
            child.end(time.monotonic())
        while [child for child in self._children if not child.gone(time.monotonic())]:
            if self._hurrying.is_set():
                for child in self._children:
                    child.kill_at = time.monotonic()
            time.sleep(TICK)
        self._guard.dismiss()


@contextmanager
def supervised(
    services: Sequence[Service], *, logs: Path, upkeep: Callable[[], object] = lambda: None
) -> Iterator[Supervision]:
    """Keep services running for as long as the block lasts; none is left when it ends.

    Args:
        services: what to run; each logs to a file of its name.
        logs: the folder of those files.
        upkeep: called every second, between the services; it should return quickly.
    """
    logs.mkdir(parents=True, exist_ok=True)
    supervision = Supervision(services, logs, upkeep)
    with exiting_when_told(), interruptible():
        try:
            supervision.start()
            yield supervision
        finally:
            supervision.stop()


def services(
    home: Path,
    *,
    host: str,
    port: int,
    processes: int = 2,
    stalled: Callable[[], bool] | None = None,
) -> list[Service]:
    """Give keypool's own services: web, worker and beat, on the system under this home.

    Args:
        home: their KEYPOOL_HOME.
        host: the address on which the web listens.
        port: its port.
        processes: how many processes the web and the worker have, each.
        stalled: says whether the worker is stuck, and must be restarted (a liveness check).
    """
    environment = {"KEYPOOL_HOME": str(home), "KEYPOOL_LOCAL_URL": f"http://{host}:{port}"}
    celery = [sys.executable, "-m", "celery", "-A", "worker.celery"]
    worker = ["worker", "--without-gossip", "--without-mingle", f"--concurrency={processes}"]
    beat = ["beat", "--schedule", str(home / "run" / "beat")]
    web = [sys.executable, "-m", "webhook"]
    where = [f"--host={host}", f"--port={port}", f"--workers={processes}"]
    return [
        Service("worker", celery + worker, environment, announces=True, stuck=stalled),
        Service("beat", celery + beat, environment, announces=True),
        Service("web", web + where, environment, answers(f"http://{host}:{port}/readyz")),
    ]


def answers(url: str) -> Callable[[], bool]:
    """Make a check whether a URL of this machine answers 200."""
    where = urlsplit(url)

    def ask() -> bool:
        # Not httpx: importing it would delay the services' start.
        connection = http.client.HTTPConnection(where.netloc, timeout=2)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", where.path)
            return connection.getresponse().status == HTTPStatus.OK
        return False

    return ask


def require_free(host: str, port: int) -> None:
    """Refuse a port that is in use; two web servers could share it unnoticed.

    Raises:
        PortTakenError: it is in use.
    """
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTakenError(f"Port {port} is taken; choose another.") from None
            raise
