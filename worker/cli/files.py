"""Files that a command writes, atomically."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from worker.cli import printing
from worker.cli.frame import wants_json
from worker.errors import InvalidInputError


class Written(TypedDict):
    """A file that was written."""

    file: str
    bytes: int


def deliver(
    content: Iterable[bytes], *, name: str, output: Path | None, printable: bool = True
) -> Written | None:
    """Write to a file and give its name; without a name, print what is text.

    An existing file is replaced only when the new one is complete.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    if output is None and printable and not wants_json():
        for piece in content:
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        return None
    path = output or Path(name)
    try:
        return {"file": str(path), "bytes": _write(path, content)}
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}.") from None


def written(result: Written) -> None:
    """Print which file was written."""
    printing.line(f"Written to {result['file']}.")


def _write(path: Path, content: Iterable[bytes]) -> int:
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("wb") as opened:
            size = sum(opened.write(piece) for piece in content)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return size
