"""Reports on imports: how the input was read, and the result of each line (K5)."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast, final

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.database.cells import guarded
from worker.database.lookup import Id
from worker.pools.reading import Read
from worker.tables.labels import LineResult
from worker.tables.pools import Batch, BatchLine

MAX_REFUSED = 1000  # refused lines in a report; all of them are in its CSV
HEADER = "line,code,result,reason\n"
QUOTED = re.compile('[",;\t\r\n]')

REASONS = {
    LineResult.DUPLICATE_IN_INPUT: "An earlier line has the same key.",
    LineResult.ALREADY_EXISTS: "There is a key with this code already.",
}


class RefusedLine(TypedDict):
    """A line that added no key."""

    line: int
    """The line's number, blank lines counted."""
    code: str
    """The line's text."""
    result: LineResult
    """The result."""
    reason: str
    """Why, in words."""


@final
class ImportReport(TypedDict):
    """The results of an import's lines."""

    batch: Id | None
    """The batch that works on lines that are not counted yet; null if all are counted."""
    read: Read | None
    """How the input was read; null for a generation."""
    added: int
    """How many keys were added."""
    duplicate_in_input: int
    """How many have the same key as an earlier line."""
    already_exists: int
    """How many keys existed already."""
    invalid: int
    """How many cannot be keys."""
    refused: list[RefusedLine]
    """The first thousand refused lines, in order; the report's CSV has all."""


class Refusal(Protocol):
    """A line that made no key, as it is kept or as it is about to be."""

    @property
    def line(self) -> int:
        """Its number."""

    @property
    def code(self) -> str:
        """The line's text."""

    @property
    def result(self) -> str:
        """The result."""

    @property
    def reason(self) -> str:
        """Why it is invalid, in a sentence; else empty."""


# The lines of one chunk that could be keys, as one text each: an array would be read one by one.
CHUNK = text("""
    SELECT position + size AS next, last_line, lines, parts, array_to_string(codes, chr(10)) AS codes
      FROM batch_chunk WHERE batch_id = :batch_id AND position = :position
""")
REFUSED_LINES = text("""
    SELECT line, part, code, result, reason FROM batch_line
     WHERE batch_id = :batch_id AND line > :after AND line <= :last_line ORDER BY line, part
""")


NO_WARNINGS: dict[str, Any] = {"warnings": []}  # of batches that were read before there were any


def shape(
    *,
    batch: str | None,
    read: Read | None,
    added: int,
    tally: Mapping[LineResult, int],
    refused: Iterable[Refusal],
) -> ImportReport:
    """Give a report's public fields."""
    return {
        "batch": batch,
        "read": read,
        "added": added,
        "duplicate_in_input": tally.get(LineResult.DUPLICATE_IN_INPUT, 0),
        "already_exists": tally.get(LineResult.ALREADY_EXISTS, 0),
        "invalid": tally.get(LineResult.INVALID, 0),
        "refused": [refused_shape(line) for line in refused],
    }


def together(first: ImportReport, second: ImportReport) -> ImportReport:
    """Combine the reports on two inputs: typed keys, and pasted ones."""
    return {
        "batch": second["batch"] or first["batch"],
        "read": second["read"],
        "added": first["added"] + second["added"],
        "duplicate_in_input": first["duplicate_in_input"] + second["duplicate_in_input"],
        "already_exists": first["already_exists"] + second["already_exists"],
        "invalid": first["invalid"] + second["invalid"],
        "refused": [*first["refused"], *second["refused"]][:MAX_REFUSED],
    }


def of_batch(session: Session, batch: Batch) -> ImportReport:
    """Give a batch's report so far."""
    counted = select(BatchLine.result, func.count()).where(BatchLine.batch_id == batch.id)
    counted = counted.group_by(BatchLine.result)
    refused = select(BatchLine).where(BatchLine.batch_id == batch.id)
    return shape(
        batch=str(batch.id),
        read=cast(Read, NO_WARNINGS | batch.read) if batch.read else None,
        added=batch.made,
        tally=dict(session.execute(counted).all()),
        refused=session.scalars(
            refused.order_by(BatchLine.line, BatchLine.part).limit(MAX_REFUSED)
        ),
    )


def refused_shape(line: Refusal) -> RefusedLine:
    """Give a refused line's public fields."""
    result = LineResult(line.result)
    return {
        "line": line.line,
        "code": line.code,
        "result": result,
        "reason": line.reason or REASONS[result],
    }


def csv_blocks(session: Session, batch: Batch) -> Iterator[bytes]:
    """Give the result of every line of an import as CSV, in blocks of many lines.

    A line that was not worked (yet, or before the batch was cancelled) has no result.
    """
    yield HEADER.encode()
    place = {"batch_id": batch.id, "position": 0, "after": 0}
    while chunk := session.execute(CHUNK, place).one_or_none():
        refused = session.execute(REFUSED_LINES, place | {"last_line": chunk.last_line}).all()
        result = str(LineResult.ADDED) if place["position"] < batch.worked else ""
        yield _block(chunk.lines, chunk.parts, chunk.codes, refused, result).encode()
        place |= {"position": chunk.next, "after": chunk.last_line}


def _block(
    lines: list[int], parts: list[int] | None, codes: str, refused: Sequence[Row[Any]], result: str
) -> str:
    """Write a chunk's lines, in order: those that could be keys, and those that could not."""
    rows = [f"{n},{c},{result},\n" for n, c in zip(lines, codes.split("\n"), strict=False)]
    written, done = [], 0
    for line in refused:
        place, is_there = _place(line, lines, parts)
        written += rows[done:place]
        fields = refused_shape(line)
        written.append(
            f"{fields['line']},{_cell(fields['code'])},{fields['result']},{_cell(fields['reason'])}\n"
        )
        done = place + is_there
    return "".join(written + rows[done:])


def _place(line: Row[Any], lines: list[int], parts: list[int] | None) -> tuple[int, bool]:
    """Give a line's position among the valid lines, and whether it is one of them."""
    first, behind = bisect_left(lines, line.line), bisect_right(lines, line.line)
    theirs = parts[first:behind] if parts else [1] * (behind - first)
    return first + bisect_left(theirs, line.part), line.part in theirs


def _cell(value: str) -> str:
    """Write a cell as csv_cell of schema.sql does."""
    safe = guarded(value)
    if safe != value or QUOTED.search(value):
        return '"' + safe.replace('"', '""') + '"'
    return value
