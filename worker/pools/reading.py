"""Reading what people give: a key per line, or a table, in whatever their spreadsheet wrote.

Text and CSV (commas, semicolons or tabs), UTF-8 and UTF-16, with and without a byte order mark,
with any line ending, and of any size: a block at a time, and no line can fill the memory.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from typing import BinaryIO, NamedTuple

from worker import errors
from worker.pools import codes
from worker.pools.codes import is_well_formed
from worker.tenancy import addresses

BLOCK = 1 << 18  # bytes read at a time
LONGEST_LINE = 1 << 16  # characters; what is beyond them is let go
LONGEST_SHOWN = 100  # characters of a code that cannot be one
LONGEST_CELL = 320
SAMPLE = 200  # lines that are looked at to tell a header, a delimiter and the keys' column
TITLES = 10  # lines that may stand above the heading of an exported list
DELIMITERS = ",;\t"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
NOT_UTF_8 = "It is not valid UTF-8; save the file as UTF-8."


class Kind(StrEnum):
    """What an input is: a key per line, or a table."""

    TEXT = "text"
    CSV = "csv"


# What columns are called, in any letter case and without spaces and signs.
NAMES = {
    "code": (
        "key keys code codes trainingkey trainingkeys undistributedkey undistributedkeys keycode"
        " accesscode accesskey activationcode registrationcode voucher vouchercode coupon"
        " couponcode licensekey licencekey productkey serial serialnumber"
    ),
    "recipient": "recipient recipientemail email emailaddress mail distributedto assignedto",
    "name": "name fullname recipientname displayname",
    "reference": "reference ref order orderno ordernumber orderid orderreference ponumber",
    "state": "state status",
    "count": "count quantity qty number amount keycount",
}
ROLES = {name: role for role, names in NAMES.items() for name in names.split()}
# The heading of the list that Skillable exports when a pool is closed, under the pool's name.
EXPORTED_LIST = "undistributedkeys"
SPENT = {"redeemed", "retired", "used"}


class Line(NamedTuple):
    """One line of an input; `reason` says why its code cannot be a key, or is empty."""

    number: int
    code: str
    recipient: str = ""
    name: str = ""
    reference: str = ""
    reason: str = ""


class Record(NamedTuple):
    """The cells of one line of a table."""

    number: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """An input's records after its header, and in which place the columns of each role are."""

    records: Iterator[Record]
    places: dict[str, int]

    def cell(self, record: Record, role: str) -> str:
        """Give a record's cell of one role, trimmed; empty where there is none."""
        place = self.places.get(role)
        return "" if place is None else "".join(record.cells[place : place + 1]).strip()


def read(
    stream: BinaryIO, *, kind: Kind | None = None, column: str | None = None
) -> Iterator[Line]:
    """Read the lines of a file of keys, one at a time; blank ones are skipped, but counted.

    Args:
        stream: the file's bytes.
        kind: text or CSV; None has it told by what the file looks like.
        column: the header (or the number, from 1) of the column that holds the keys; None has
            the column told by its header, or by which looks most like keys.

    Raises:
        InvalidInputError: there is no line, or no such column.
    """
    opened = table(stream, kind=kind, column=column)
    if len(opened.places) > 1:
        yield from (_judged(_line(record, opened)) for record in opened.records)
    else:
        place = opened.places["code"]
        for number, cells in opened.records:
            code = cells[place].strip() if place < len(cells) else ""
            yield _judged(Line(number, code))


def pasted(text: Iterable[str]) -> Iterator[Line]:
    """Read lines that were typed or pasted, one key each, whatever else is in them."""
    for number, line in enumerate(text, 1):
        if code := line.strip():
            yield _judged(Line(number, code))


def table(stream: BinaryIO, *, kind: Kind | None = None, column: str | None = None) -> Table:
    """Read a table, and tell its header, its delimiter and the roles of its columns."""
    lines = ((n, line) for n, line in _lines(stream) if line.strip())
    sample = list(islice(lines, SAMPLE))
    if not sample:
        raise errors.InvalidInputError("There is nothing in the input; give a key per line.")
    sample, titled = _without_titles(sample)
    delimiter = _delimiter(sample, kind)
    head = [record.cells for record in _records(iter(sample), delimiter)]
    places = _places(head[0]) if head else {}
    has_header = titled or bool(places) or _names(head[:1], column)
    places |= _code_place(head, places, column, has_header=has_header)
    records = _records(chain(sample, lines), delimiter)
    if has_header:
        next(records, None)
    first = next(records, None)
    if first is None:
        raise errors.InvalidInputError("There are no keys below the input's header.")
    return Table(chain([first], records), places)


# --------------------------------------------------------------------------- from bytes to lines


def _lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    number, pending = 1, ""
    for text in _decoded(stream):
        first, *others = text.split("\n")
        pending += first
        for line in others:
            yield number, pending
            number, pending = number + 1, line
        pending = pending[: LONGEST_LINE + 1]
    yield number, pending


def _decoded(stream: BinaryIO) -> Iterator[str]:
    block = stream.read(BLOCK)
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(_encoding(block))(errors="replace"), translate=True
    )
    while block:
        yield decoder.decode(block)
        block = stream.read(BLOCK)
    yield decoder.decode(b"", final=True)


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Plain letters in UTF-16 have a zero in every other byte.
    if start[1:200:2].count(0) > len(start[:200]) // 4:
        return "utf-16-le"
    if start[0:200:2].count(0) > len(start[:200]) // 4:
        return "utf-16-be"
    return "utf-8-sig"


# ------------------------------------------------------------------------- from lines to records


def _without_titles(sample: list[tuple[int, str]]) -> tuple[list[tuple[int, str]], bool]:
    """Let go of what stands above an exported list's heading; the heading may be in a table."""
    for place, (_, line) in enumerate(sample[:TITLES]):
        if EXPORTED_LIST in {_plain(cell) for cell in re.split(f"[{DELIMITERS}]", line)}:
            return sample[place:], True
    return sample, False


def _delimiter(sample: list[tuple[int, str]], kind: Kind | None) -> str | None:
    """Tell the delimiter: a known header has it, or most lines do; no key can."""
    if kind is Kind.TEXT:
        return None
    for delimiter in DELIMITERS:
        if len(_places(sample[0][1].split(delimiter))) > 1:
            return delimiter
    found = Counter({d: sum(d in line for _, line in sample) for d in DELIMITERS})
    delimiter, lines = found.most_common(1)[0]
    if kind is Kind.CSV:
        return delimiter
    return delimiter if 2 * lines > len(sample) else None


def _records(lines: Iterator[tuple[int, str]], delimiter: str | None) -> Iterator[Record]:
    return _bare_records(lines) if delimiter is None else _split_records(lines, delimiter)


def _bare_records(lines: Iterator[tuple[int, str]]) -> Iterator[Record]:
    for number, line in lines:
        if cell := _unquoted(line.strip()).strip():
            yield Record(number, [cell])


def _split_records(lines: Iterator[tuple[int, str]], delimiter: str) -> Iterator[Record]:
    waiting: list[tuple[int, str]] = []
    while (first := waiting.pop(0) if waiting else next(lines, None)) is not None:
        number, line = first
        if '"' not in line or len(line) > LONGEST_LINE:
            cells = line.split(delimiter)
        else:
            cells = _parsed(_whole(line, delimiter, waiting, lines), delimiter)
        if "".join(cells).strip():
            yield Record(number, cells)


def _unquoted(line: str) -> str:
    return line[1:-1] if len(line) > 1 and line[0] == line[-1] == '"' else line


def _whole(
    line: str, delimiter: str, waiting: list[tuple[int, str]], lines: Iterator[tuple[int, str]]
) -> str:
    """Join a record whose quoted cell goes on over lines; where it never ends, it is one line."""
    if not re.search(f'(^|{delimiter}) *"', line):
        return line
    joined, marks = [line], line.count('"')
    while marks % 2:
        if len(joined) > len(waiting):
            following = next(lines, None) if len(waiting) < SAMPLE else None
            if following is None:
                return line
            waiting.append(following)
        joined.append(waiting[len(joined) - 1][1])
        marks += joined[-1].count('"')
    del waiting[: len(joined) - 1]
    return "\n".join(joined)


def _parsed(record: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([record], delimiter=delimiter, skipinitialspace=True))
    except csv.Error:  # a cell of more than 128 KiB
        return record[:LONGEST_LINE].split(delimiter)


# ------------------------------------------------------------------------ what the columns hold


def _plain(cell: str) -> str:
    return re.sub("[^a-z0-9]", "", cell.lower())


def _places(header: list[str]) -> dict[str, int]:
    """Give the places of the columns whose headers are known."""
    places: dict[str, int] = {}
    for place, cell in enumerate(header):
        if role := ROLES.get(_plain(cell)):
            places.setdefault(role, place)
    return places


def _names(header: list[list[str]], column: str | None) -> bool:
    return column is not None and any(_is_called(cell, column) for row in header for cell in row)


def _is_called(cell: str, column: str) -> bool:
    return cell.strip().casefold() == column.strip().casefold()


def _code_place(
    head: list[list[str]], places: dict[str, int], column: str | None, *, has_header: bool
) -> dict[str, int]:
    if column is None:
        return {} if "code" in places else {"code": _keys_place(head[has_header:], places)}
    header = head[0]
    named = [place for place, cell in enumerate(header) if _is_called(cell, column)]
    if column.isdecimal() and not named and 1 <= int(column) <= len(header):
        named = [int(column) - 1]
    if not named:
        listed = ", ".join(cell.strip() for cell in header)[:LONGEST_CELL]
        raise errors.InvalidInputError(
            f"There is no column “{column}” in the input; it has: {listed}.", field="column"
        )
    return {"code": named[0]}


def _keys_place(head: list[list[str]], places: dict[str, int]) -> int:
    """Tell which column looks most like keys: digits among letters, and hardly ever the same."""
    width = max((len(cells) for cells in head), default=1)
    free = [place for place in range(width) if place not in places.values()] or [0]
    return max(free, key=lambda place: (_likeness(head, place), -place))


def _likeness(head: list[list[str]], place: int) -> int:
    cells = {cells[place].strip() for cells in head if place < len(cells)}
    return sum(is_well_formed(cell) and any(c.isdigit() for c in cell) for cell in cells)


def _line(record: Record, opened: Table) -> Line:
    name = opened.cell(record, "name")
    line = Line(
        record.number,
        opened.cell(record, "code"),
        opened.cell(record, "recipient") or name,
        name,
        opened.cell(record, "reference"),
    )
    if (state := opened.cell(record, "state")).lower() in SPENT:
        return line._replace(reason=f"Its state is “{state}”; only unused keys can be added.")
    try:
        line = line._replace(recipient=addresses.recipient(line.recipient))
    except errors.InvalidInputError as error:
        return line._replace(reason=str(error))
    return line._replace(reason=unfit_recipient(*line[2:5]))


def unfit_recipient(*cells: str) -> str:
    """Say why a recipient, a name or a reference cannot be kept; an empty text where they can."""
    for cell in cells:
        if REPLACEMENT in cell:
            return NOT_UTF_8
        if len(cell) > LONGEST_CELL:
            return f"A recipient, name or reference has up to {LONGEST_CELL} characters."
        if not cell.isprintable():
            return "A recipient, name or reference has a character that cannot be printed."
    return ""


def _judged(line: Line) -> Line:
    if not line.reason and is_well_formed(line.code):
        return line
    reason = line.reason or _why_not(line.code)
    shown = line.code[:LONGEST_SHOWN].replace("\0", "\N{SYMBOL FOR NULL}")
    shown = shown.encode(errors="replace").decode()  # half a surrogate pair cannot be kept
    return Line(line.number, shown, reason=reason)


def _why_not(code: str) -> str:
    if len(code) > LONGEST_LINE:
        return f"It has more than {LONGEST_LINE:,} characters; a key has up to {codes.LONGEST}."
    if REPLACEMENT in code:
        return NOT_UTF_8
    return (codes.refusal(code) or "") if code else "There is no key in the line."
