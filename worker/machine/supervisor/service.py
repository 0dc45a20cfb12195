"""A command to keep running, and the process that runs it now."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from worker.logs import log
from worker.machine.supervisor.guard import LAUNCHER, Guard

GRACE = 30  # seconds from SIGTERM to SIGKILL
STEADY = 30  # seconds of life after which earlier deaths no longer count
LONGEST_PAUSE = 10  # seconds before a service that keeps dying is started again
QUESTION = 5  # seconds between liveness checks
LONGEST_LOG = 10_000_000  # bytes; one older log is kept


@dataclass(frozen=True)
class Service:
    """A command to keep running, and how to ask whether it answers, or is stuck.

    A service that `announces` makes the file that KEYPOOL_READY_FILE names once it works.

    A service that is stuck is restarted (a liveness check). It is checked every few seconds, at first
    after `settle_in` seconds. The check should be quick, since all services wait for it.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    announces: bool = False
    stuck: Callable[[], bool] | None = None
    settle_in: float = 60


class Child:
    """A service's process, and its history of deaths."""

    def __init__(self, service: Service, folder: Path, guard: Guard) -> None:
        self.service, self.guard = service, guard
        self.log = folder / f"{service.name}.log"
        self.announced = folder / f"{service.name}.ready"
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0  # since it last ran long enough
        self.started = self.start_at = self.ask_at = self.kill_at = 0.0
        if self.log.exists() and self.log.stat().st_size > LONGEST_LOG:
            self.log.replace(self.log.with_suffix(".log.1"))

    def tend(self, now: float) -> None:
        """Start it if it does not run, note if it has died, end it if it is stuck."""
        if self.process is None:
            if now >= self.start_at:
                self._start(now)
        elif self.gone(now):
            self.deaths = 1 if now - self.started > STEADY else self.deaths + 1
            self.start_at = now + min(0.1 * 2**self.deaths, LONGEST_PAUSE)
        elif not self.kill_at and self._is_stuck(now):
            log.warning("service is stuck", service=self.service.name)
            self.end(now)

    def ready(self) -> bool:
        """Say whether it runs, has announced that it works, and answers."""
        if self.process is None or (self.service.announces and not self.announced.exists()):
            return False
        return not self.service.ready or self.service.ready()

    def end(self, now: float) -> None:
        """Send it SIGTERM, with time to end."""
        if self.process:
            self.kill_at = now + GRACE
            self.process.terminate()

    def gone(self, now: float) -> bool:
        """Say whether it has ended; kill it if it did not end in time, and what is left of its group."""
        if not self.process:
            return True
        ended = self.process.poll() is not None
        if ended or (self.kill_at and now > self.kill_at):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if ended:
            self.guard.forget(self.process.pid)
            log.info("service ended", service=self.service.name, code=self.process.returncode)
            self.process = None
        return ended

    def last_words(self) -> str:
        """Give the last line of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.strip().rpartition("\n")[2]

    def _start(self, now: float) -> None:
        self.announced.unlink(missing_ok=True)
        announcing = {"KEYPOOL_READY_FILE": str(self.announced)} if self.service.announces else {}
        with self.log.open("ab") as output:
            os.fchmod(output.fileno(), 0o600)  # also one that an older version made
            self.process = subprocess.Popen(
                [*LAUNCHER, *self.service.command],
                stdin=self.guard.pipe(),
                stdout=output,
                stderr=output,
                env={**os.environ, **announcing, **self.service.environment},
                start_new_session=True,
            )
        self.started, self.ask_at, self.kill_at = now, now + self.service.settle_in, 0.0

    def _is_stuck(self, now: float) -> bool:
        if not self.service.stuck or now < self.ask_at:
            return False
        self.ask_at = now + QUESTION
        try:
            return self.service.stuck()
        except Exception as error:  # a check that fails is no reason to restart
            log.warning("service cannot be asked", service=self.service.name, error=str(error))
            return False
