"""Workbooks (xlsx, xls, ods): which sheet is read, and its rows as lines of text.

The first visible sheet that has a key or an address is read: what comes before may be a title page.
Where none has, it is the first that is not empty. A workbook is converted to text, one line per row, so
that all later steps read only lines.
"""

import tempfile
import zipfile
from collections.abc import Iterator
from itertools import chain, islice
from typing import BinaryIO, NamedTuple
from xml.parsers.expat import ExpatError

from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetVisibleEnum

from worker import errors
from worker.pools.reading import xlsx
from worker.pools.reading.cells import Cell, shown
from worker.pools.reading.records import tells
from worker.pools.reading.texts import IN_MEMORY, Text

DELIMITER = "\x1f"  # between the cells of a converted row
ROW_BREAKS = str.maketrans({"\n": " ", "\r": " ", DELIMITER: " "})
ROWS = 2_000  # written at once
LOOKED_AT = 50  # rows of a sheet, to say whether it is a table
LARGEST = 1 << 29  # uncompressed bytes of a workbook that is read at once
LARGEST_SLICED = 1 << 32  # of one that is read in slices
DAMAGED = "The workbook is damaged; save it again, or as CSV."


class Read(NamedTuple):
    """A workbook's text, from the sheet that is read; the other sheets with contents are named."""

    text: Text
    sheet: str
    others: list[str]


class _Sheet(NamedTuple):
    name: str
    rows: Iterator[xlsx.Row]


class _Filled(NamedTuple):
    """A sheet that holds something: its first rows, those behind them, and whether it looks like a table."""

    name: str
    first: list[xlsx.Row]
    rest: Iterator[xlsx.Row]
    is_table: bool


def read(file: BinaryIO, kind: str) -> Read:
    """Read a workbook, told to be `xlsx`, `xls` or `ods`.

    Raises:
        InvalidInputError: it is damaged, protected, too large, or empty.
    """
    try:
        return _read(file, kind)
    except PasswordError:
        raise errors.InvalidInputError(
            "The workbook is protected by a password; save it without one."
        ) from None
    except (
        CalamineError,
        ExpatError,
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        EOFError,
        RuntimeError,
    ):
        raise errors.InvalidInputError(DAMAGED) from None


def _read(file: BinaryIO, kind: str) -> Read:
    sheets = (_sliced if kind == "xlsx" else _loaded)(file)
    filled = list(filter(None, map(_filled, sheets)))
    if not filled:
        raise errors.InvalidInputError("There is nothing in the workbook.")
    chosen = next((sheet for sheet in filled if sheet.is_table), filled[0])
    text = Text(_spooled(chain(chosen.first, chosen.rest)), "utf-8", DELIMITER)
    return Read(text, chosen.name, [sheet.name for sheet in filled if sheet is not chosen])


def _filled(sheet: _Sheet) -> _Filled | None:
    first = list(islice((row for row in sheet.rows if any(map(shown, row.cells))), LOOKED_AT))
    if not first:
        return None
    cells = (shown(cell).strip() for row in first for cell in row.cells)
    is_table = any(" " not in cell and tells(cell) for cell in cells)
    return _Filled(sheet.name, first, sheet.rows, is_table)


def _sliced(file: BinaryIO) -> Iterator[_Sheet]:
    _refuse_large(file, LARGEST_SLICED)
    book = xlsx.Workbook.open(file)
    for sheet in book.sheets:
        yield _Sheet(sheet.name, book.rows(sheet))


def _loaded(file: BinaryIO) -> Iterator[_Sheet]:
    _refuse_large(file, LARGEST)
    with CalamineWorkbook.from_filelike(file) as book:
        for about in book.sheets_metadata:
            if about.visible is SheetVisibleEnum.Visible:
                sheet = book.get_sheet_by_name(about.name)
                yield _Sheet(
                    sheet.name, (xlsx.Row(n, r) for n, r in enumerate(sheet.iter_rows(), 1))
                )


def _refuse_large(file: BinaryIO, most: int) -> None:
    """Refuse an archive that is far larger uncompressed than any workbook (a zip bomb)."""
    if zipfile.is_zipfile(file):
        file.seek(0)
        if sum(part.file_size for part in zipfile.ZipFile(file).infolist()) > most:
            raise errors.InvalidInputError("The workbook is too large; save it as CSV.")
    file.seek(0)


def _spooled(rows: Iterator[xlsx.Row]) -> BinaryIO:
    """Write rows as lines, each at its own number."""
    spool: BinaryIO = tempfile.SpooledTemporaryFile(IN_MEMORY)  # type: ignore[assignment]  # noqa: SIM115  # lives as long as what reads it
    lines: list[str] = []
    number = 0
    for row in rows:
        lines += [""] * (row.number - number - 1)
        lines.append(_line(row.cells))
        number = row.number
        if len(lines) >= ROWS:
            _write(spool, lines)
            lines = []
    _write(spool, lines)
    spool.seek(0)
    return spool


def _write(spool: BinaryIO, lines: list[str]) -> None:
    spool.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))


def _line(cells: list[Cell]) -> str:
    line = DELIMITER.join(map(shown, cells))
    if "\n" in line or "\r" in line or line.count(DELIMITER) >= len(cells):
        return DELIMITER.join(shown(cell).translate(ROW_BREAKS) for cell in cells)
    return line
