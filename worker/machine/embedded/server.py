"""One server of a home: started as a daemon, identified safely, stopped with escalating signals.

A process counts as ours if the server's pid file names it and its working directory is that server's
folder. So we never signal a foreign process after a reboot, a reused process id or a clock change.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from worker.errors import ExtraMissingError, KeypoolError, of_extra

with of_extra("local"):
    import psutil

START_TIMEOUT = 300  # seconds; PostgreSQL may have a crash to recover from


class EmbeddedServersError(KeypoolError):
    """The embedded servers cannot be started."""


@dataclass(frozen=True)
class Server:
    """A server's folder, the names of its program, and the signals that end it."""

    folder: Path
    pid_file: Path
    programs: tuple[str, ...]
    endings: tuple[signal.Signals, ...]

    def process(self) -> psutil.Process | None:
        """Give its process, if it runs and is proven to be ours."""
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(pid_in(self.pid_file))
            if process.name() in self.programs and Path(process.cwd()) == self.folder:
                return process if _alive(process) else None
        return None

    def start(self, command: list[str], answers: Callable[[], bool], *, tries: int) -> None:
        """Start it if it does not run, and wait until it answers.

        Raises:
            EmbeddedServersError: it ended each time; the message has the last lines of its log.
        """
        log = self.folder.with_name("log") / f"{self.folder.name}.log"
        for _ in range(tries):
            process = self.process() or _orphan(command, self.folder, log)
            deadline = time.monotonic() + START_TIMEOUT
            while _alive(process) and time.monotonic() < deadline:
                if answers():
                    return
                time.sleep(0.01)
            time.sleep(0.2)  # a killed PostgreSQL's children hold its memory until they notice
        reason = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise EmbeddedServersError(f"The embedded server did not start ({reason}); see {log}.")

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        for ending in self.endings:
            if not (process := self.process()):
                return
            with suppress(psutil.NoSuchProcess):
                process.send_signal(ending)
            deadline = time.monotonic() + START_TIMEOUT / 5
            while _alive(process) and time.monotonic() < deadline:
                time.sleep(0.01)


def _orphan(command: list[str], folder: Path, log: Path) -> psutil.Process | None:
    """Start a daemon: a process without parent and terminal."""
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


def lives(pid: int) -> bool:
    """Say whether a process with that id exists, whoever owns it."""
    return psutil.pid_exists(pid)


def pid_in(path: Path) -> int:
    """Read the process id in a pid or lock file's first line."""
    return int(path.read_text().split("\n", 1)[0])


def wheel(package: str) -> Path:
    """Find an installed package's folder without importing it.

    Raises:
        ExtraMissingError: it is not installed.
    """
    spec = find_spec(package)
    if not spec or not spec.submodule_search_locations:
        raise ExtraMissingError("local")
    return Path(spec.submodule_search_locations[0])
