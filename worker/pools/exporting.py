"""The export of a pool's keys, streamed from one snapshot in constant memory (K9).

The database writes the lines of CSV. Excel's CSV has a byte order mark and the separator of the
pool owner's language; a workbook is made of the same lines.
"""

import codecs
import csv
import io
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

from babel import Locale
from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    TextClause,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.orm import Session

from worker.database import connections
from worker.database.cells import bare
from worker.database.lookup import label
from worker.pools import keys, pools
from worker.tables.pools import Distribution, Key
from worker.tables.tenancy import Organization
from worker.tenancy.actors import Actor

WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PIECE = 64 * 1024  # bytes per block of a finished workbook
SHEET = 1_048_576  # rows per sheet of a workbook
# In file names: what some system does not take, and marks that show a name's end as its middle.
FORBIDDEN = re.compile(
    r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+'
)

FIRST, BLOCK = 1_000, 50_000  # lines per block of an export
HEADER = (
    "code,state,recipient,reference,distributed_at,redeemed_by_email,redeemed_by_name,"
    "redeemed_by_organization,redeemed_at,access_expires_at\n"
)
# One line of the export; {0} is what separates its cells (csv_cell quotes whatever that may be), {1}
# its end.
# Most keys were neither distributed nor redeemed: those need no other table. A distribution is read
# once for its keys (Memoize), and most learners are in the pool's own organization, whose name is known.
HELD = """'{0}' || csv_cell(distribution.recipient) || '{0}' || csv_cell(distribution.reference)
    || '{0}' || csv_cell(distribution.distributed_at)"""
LINE = """
    key.code || '{0}'
    || CASE key.state WHEN 'issued' THEN 'issued' WHEN 'redeemed' THEN 'redeemed' ELSE 'retired' END
    || coalesce(held.cells, '{0}{0}{0}')
    || CASE WHEN key.state = 'issued' THEN E'{0}{0}{0}{0}{0}{1}' ELSE coalesce((
            SELECT '{0}' || csv_cell(learner.email) || '{0}' || csv_cell(learner.name) || '{0}'
                   || CASE WHEN assignment.organization_id = :owner_id THEN csv_cell(:owner) ELSE csv_cell((
                           SELECT organization.name FROM organization
                            WHERE organization.id = assignment.organization_id)) END
                   || '{0}' || csv_cell(assignment.redeemed_at)
                   || '{0}' || csv_cell(assignment.expires_at) || E'{1}'
              FROM assignment LEFT JOIN learner ON learner.id = assignment.learner_id
             WHERE assignment.key_id = key.id AND NOT assignment.undone LIMIT 1), E'{0}{0}{0}{0}{0}{1}') END
"""
# What of a line stands behind that, where it is asked for.
LABELS = """ || '{0}' || csv_cell(array_to_string(key.labels, ', ')) || E'\\n'"""


class Format(StrEnum):
    """Formats of an export."""

    CSV = "csv"
    EXCEL = "excel"
    XLSX = "xlsx"


@dataclass(frozen=True)
class File:
    """A file's name and media type."""

    name: str
    media_type: str


def file(session: Session, *, actor: Actor, pool: str, format: str = "csv") -> File:
    """Give the file that an export is kept in: it is named after its pool.

    Raises:
        InvalidInputError: the format is none of `csv`, `excel` and `xlsx`.
    """
    kind = label(Format, format, field="format")
    name = " ".join(
        FORBIDDEN.sub(" ", pools.find(session, actor=actor, pool=pool).name).split()
    ).strip(". ")
    if kind is Format.XLSX:
        return File(f"{name or 'keys'}.xlsx", WORKBOOK)
    return File(f"{name or 'keys'}.csv", "text/csv")


def export(
    session: Session,
    *,
    actor: Actor,
    pool: str,
    format: str = "csv",
    filters: keys.Filters = keys.ALL,
    labels: bool = False,
    ids: Sequence[int] = (),
) -> Iterator[bytes]:
    """Give a pool's keys from one snapshot, in blocks of many lines; of those some, by `ids`.

    With `labels`, a last column has those of each key.

    The session's transaction must be one of `connections.session(snapshot=True)`.

    Raises:
        InvalidInputError: the format is not one.
    """
    kind = label(Format, format, field="format")
    found = pools.find(session, actor=actor, pool=pool)
    conditions = keys.chosen(session, found, filters)
    if ids:
        conditions.append(Key.id.in_(ids))
    if session.scalar(text("SHOW transaction_isolation")) != "repeatable read":
        raise RuntimeError("an export reads one snapshot: open its session with snapshot=True")
    owner = session.get_one(Organization, found.organization_id)
    comma = _separator(owner.locale) if kind is Format.EXCEL else ","
    line = text(_line(comma, labels)).bindparams(owner_id=owner.id, owner=owner.name)
    lines = _blocks(session, line, conditions, HELD.format(comma))
    header = HEADER.replace("\n", ",labels\n") if labels else HEADER
    return _written(kind, header, lines, comma)


def _line(comma: str, labels: bool) -> str:
    line = LINE.format(comma, "") + LABELS.format(comma) if labels else LINE.format(comma, "\\n")
    return f"{line} AS line"


def _separator(locale: str) -> str:
    """Give Excel's separator: a semicolon in locales with a decimal comma."""
    return ";" if Locale.parse(locale).number_symbols["latn"]["decimal"] == "," else ","


def _written(kind: Format, header: str, lines: Iterator[bytes], comma: str) -> Iterator[bytes]:
    if kind is Format.XLSX:
        return _workbook(csv.reader(_text(chain([header.encode()], lines))))
    mark = codecs.BOM_UTF8 if kind is Format.EXCEL else b""
    return chain([mark + header.replace(",", comma).encode()], lines)


def _text(blocks: Iterable[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from io.StringIO(block.decode(), newline="")


def _workbook(rows: Iterable[list[str]]) -> Iterator[bytes]:
    """Write rows to a workbook, a million per sheet, and give its file block by block."""
    from xlsxwriter import Workbook  # here, because it delays a start by a tenth of a second

    with tempfile.TemporaryFile() as made:
        # Each row is written to disk at once; every cell is text, whatever it looks like.
        with Workbook(made, {"constant_memory": True}) as book:
            sheet = book.add_worksheet()
            for number, row in enumerate(rows):
                if number and number % SHEET == 0:
                    sheet = book.add_worksheet()
                for column, cell in enumerate(row):
                    sheet.write_string(number % SHEET, column, bare(cell))
        made.seek(0)
        while piece := made.read(PIECE):
            yield piece


def _blocks(
    session: Session, line: TextClause, filters: list[ColumnElement[bool]], held: str
) -> Iterator[bytes]:
    # The database makes the next block while one is sent.
    ahead = connections.beside(session, ThreadPoolExecutor(1))
    block = session.execute(_block(line, filters, held, 0, FIRST)).one()
    while block.last is not None:
        following = ahead.submit(session.execute, _block(line, filters, held, block.last, BLOCK))
        yield block.lines.encode()
        block = following.result().one()


def _block(
    line: TextClause, filters: list[ColumnElement[bool]], cells: str, after: int, limit: int
) -> Select[Any]:
    """Let the database build a block of lines as one value; a value per line takes twice the time."""
    held = (
        select(literal_column(cells).label("cells"))
        .where(Distribution.id == Key.distribution_id)
        .limit(1)
        .lateral("held")
    )
    lines = (
        select(Key.id, line)
        .join_from(Key, held, true(), isouter=True)
        .where(*filters, Key.id > after)
        .order_by(Key.id)
        .limit(limit)
        .subquery()
    )
    written = literal_column("line", String)
    return select(
        func.max(lines.c.id).label("last"), func.string_agg(written, "").label("lines")
    ).select_from(lines)
