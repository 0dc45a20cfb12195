"""Reading bytes as numbered lines: block by block, with any line ending, repeatedly."""

import codecs
import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from worker.pools.reading import encodings

BLOCK = 1 << 18  # bytes read at a time
LONGEST_LINE = 1 << 20  # characters in a line; the rest is dropped
TYPED = 10_000  # lines that were given as such, in a block
IN_MEMORY = 1 << 20  # bytes of a stream that are kept without a file


class Block(NamedTuple):
    """Consecutive lines, and the number of the first, from 1."""

    first: int
    lines: list[str]


@dataclass(frozen=True)
class Text:
    """A file's text. `delimiter` is told where the file was a workbook and is spooled by rows."""

    file: BinaryIO
    encoding: str
    delimiter: str | None = None

    def blocks(self) -> Iterator[Block]:
        """Give the lines from the start; a line's end that is missing at the file's end is no line."""
        self.file.seek(0)
        first, pending = 1, ""
        for text in self._decoded():
            lines = (pending + text).split("\n")
            pending = lines.pop()[: LONGEST_LINE + 1]
            if lines:
                yield Block(first, lines)
                first += len(lines)
        if pending:
            yield Block(first, [pending])

    def _decoded(self) -> Iterator[str]:
        codec = codecs.getincrementaldecoder(encodings.codec(self.encoding))
        decoder = io.IncrementalNewlineDecoder(codec(errors="replace"), translate=True)
        while block := self.file.read(BLOCK):
            yield decoder.decode(block)
        yield decoder.decode(b"", final=True)


@dataclass(frozen=True)
class Typed:
    """Lines that were given as such."""

    lines: list[str]
    encoding: str = "utf-8"

    def blocks(self) -> Iterator[Block]:
        """Give the lines; a character that cannot be written in UTF-8 is replaced."""
        for first in range(0, len(self.lines), TYPED):
            lines = self.lines[first : first + TYPED]
            yield Block(first + 1, [line.encode("utf-8", "replace").decode() for line in lines])


def rewindable(stream: BinaryIO) -> BinaryIO:
    """Give a stream that can be read again: itself, or what it holds in a file without a name."""
    try:
        if stream.seekable():
            stream.seek(0)
            return stream
    except (AttributeError, OSError):
        pass
    spool: BinaryIO = tempfile.SpooledTemporaryFile(IN_MEMORY)  # type: ignore[assignment]  # noqa: SIM115  # lives as long as what reads it
    shutil.copyfileobj(stream, spool, BLOCK)
    spool.seek(0)
    return spool
