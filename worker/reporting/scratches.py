"""Temporary folders of runs: private, locked while in use, and removed by the next run if one was killed.

A folder holds executed pages, which may name people, so none is left behind.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "keypool-report-"
LOCK = ".lock"
LONGEST_FOLDER = 60  # characters; a socket's path has about 100 at most
# A folder without a lock is being made just now, or is an older version's, whose runs end within hours.
LONGEST_WITHOUT_LOCK = 4 * 3600  # seconds


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder for one run, and remove it, and what killed runs left."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
    try:
        with (folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> int:
    """Remove the folders that killed runs left, and give their number; those in use stay."""
    return sum(map(_removed, _place().glob(f"{PREFIX}*")))


def _place() -> Path:
    """Give the folder for temporary files; /tmp if its path is too long for sockets."""
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= LONGEST_FOLDER else "/tmp")  # noqa: S108  # made 0700


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        status = folder.lstat()
        if status.st_uid != os.geteuid() or folder.is_symlink():
            return False
        if not (folder / LOCK).exists():
            if time.time() - status.st_mtime < LONGEST_WITHOUT_LOCK:
                return False
            shutil.rmtree(folder)
            return True
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its run is alive
            shutil.rmtree(folder)
            return True
    return False
