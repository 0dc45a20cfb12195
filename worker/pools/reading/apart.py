"""Reading a workbook in a process of its own: of a few bytes it can unpack gigabytes, or end whoever reads it.

The process has a bound of memory, of processor time and of what it writes, and none of our environment. If it
ends before its time, that is the workbook's refusal, and nobody else is touched.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from worker import errors
from worker.pools.reading import workbooks
from worker.pools.reading.texts import Text

MEMORY = 1 << 30  # bytes, beside those of Python and its packages
SECONDS = 300  # of a processor; a million rows take some ten
PATIENCE = 900  # seconds until it is given up, however busy the machine is
TOO_LARGE = "The workbook is damaged or too large to be read; save it as CSV."
STATM = Path("/proc/self/statm")  # Linux; the first number is the pages of the address space


def read(file: BinaryIO, kind: str) -> workbooks.Read:
    """Read a workbook as `workbooks.read` does, apart.

    Raises:
        InvalidInputError: it is damaged, protected, too large, or empty.
    """
    spool: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as what reads it
    told = json.loads(_told(file, kind, spool) or "{}")
    if "sheet" not in told:
        raise errors.InvalidInputError(told.get("refused", TOO_LARGE))
    spool.seek(0)
    return workbooks.Read(Text(spool, "utf-8", workbooks.DELIMITER), told["sheet"], told["others"])


def main() -> None:
    """Read the workbook that is standard input; write its text into a file that is open, and tell the rest."""
    kind, spool, largest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _bound(largest)
    try:
        with os.fdopen(0, "rb") as file:
            made = workbooks.read(file, kind)
        with os.fdopen(spool, "wb") as text:
            copyfileobj(made.text.file, text)
        told: dict[str, object] = {"sheet": made.sheet, "others": made.others}
    except errors.InvalidInputError as error:
        told = {"refused": str(error)}
    sys.stdout.write(json.dumps(told))


def _told(file: BinaryIO, kind: str, spool: BinaryIO) -> bytes:
    """Give what the process tells; nothing where it ended before its time."""
    # Not at the top: it takes half of the time in which the process apart starts.
    from worker.settings import settings

    words = (kind, str(spool.fileno()), str(settings().largest_upload))
    with _on_disk(file) as workbook:
        try:
            return subprocess.run(
                [sys.executable, "-m", __name__, *words],
                stdin=workbook,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[spool.fileno()],
                env={"OPENBLAS_NUM_THREADS": "1", "TMPDIR": tempfile.gettempdir()},
                cwd=Path(__file__).parents[3],
                timeout=PATIENCE,
                check=True,
            ).stdout
        except subprocess.SubprocessError:
            return b""


@contextmanager
def _on_disk(file: BinaryIO) -> Iterator[BinaryIO]:
    """Give a file that another process can read, at its start."""
    file.seek(0)
    with tempfile.TemporaryFile() as copy:
        copyfileobj(file, copy)
        copy.seek(0)
        yield copy


def _bound(largest: int) -> None:
    pages = int(STATM.read_text().split()[0]) if STATM.exists() else 0
    memory = MEMORY + pages * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_FSIZE, largest),  # the text; the shared strings have a file of their own
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(OSError, ValueError):  # not every system knows each
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
