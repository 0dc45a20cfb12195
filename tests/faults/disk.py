"""A disk that can be full: a home in memory, whose size is cut to what is used of it."""

import errno
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = "6g"


@contextmanager
def small(folder: Path) -> Iterator[bool]:
    """Put a folder on a disk of its own while the block lasts; gives whether that is allowed here."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = _mount(folder, f"size={SIZE},mode=700")
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Let the disk be full while the block lasts; a write to it was refused."""
    for _ in range(1_000):  # somebody else writes and deletes meanwhile
        cut = _mount(folder, f"remount,size={shutil.disk_usage(folder).used}")
        if cut and not _takes(folder / "one-more"):
            break
    else:
        raise AssertionError("the disk was not full")
    try:
        yield
    finally:
        assert _mount(folder, f"remount,size={SIZE}"), "the disk did not get its size back"


def _mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _takes(file: Path) -> bool:
    try:
        file.write_bytes(bytes(1 << 16))
    except OSError as refused:
        if refused.errno != errno.ENOSPC:
            raise
        return False
    finally:
        file.unlink(missing_ok=True)
    return True
