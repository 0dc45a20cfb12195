"""Excel's workbooks (ECMA-376), a slice of rows at a time: in constant memory, however long the sheet.

python-calamine loads a whole sheet, and all strings of its workbook. So the sheet is cut between rows
while it is unpacked, each slice is passed to calamine as a workbook of its own, and the shared strings
are kept in a file. Only calamine interprets the cells.
"""

import io
import re
import tempfile
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from posixpath import join, normpath
from typing import IO, NamedTuple
from xml.parsers import expat

from python_calamine import CalamineWorkbook

from worker.pools.reading.cells import Cell

SLICE = 1 << 19  # bytes of a sheet's XML; a sheet's row takes some dozens
LARGEST_HEAD = 1 << 24  # bytes before the first row: widths of columns, views
LARGEST_ROW = 1 << 26
STRINGS_IN_A_BLOCK, BLOCKS_IN_MEMORY = 64, 1_024

# A shared string as a row of its own, behind a cell that is never empty.
STRING = b'<row><c t="str"><v>x</v></c><c t="inlineStr"><is>'
STRING_END = b"</is></c></row>"

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"

ROOT = re.compile(rb"<(?:(\w+):)?(worksheet|sst)\b[^>]*>")
SHARED = re.compile(rb"(<c\b[^<>]*\bt=)[\"']s[\"']([^<>]*>\s*<v>)")
MARK = "\ue000"  # before the number of a shared string, in its place
MARKED = rb'\1"str"\2' + MARK.encode()

CONTENT_TYPES = (
    f'<Types xmlns="{TYPES}"><Default Extension="xml" ContentType="application/xml"/></Types>'
).encode()
WORKBOOK = (
    f'<workbook xmlns="{MAIN}" xmlns:r="{DOCUMENT}"><workbookPr date1904="%d"/>'
    '<sheets><sheet name="S" sheetId="1" r:id="r0"/></sheets></workbook>'
).encode()
SHEET = f'<worksheet xmlns="{MAIN}"><sheetData>%s</sheetData></worksheet>'.encode()

Attributes = dict[str, str]


class Row(NamedTuple):
    """A row of a sheet, by its number from 1."""

    number: int
    cells: list[Cell]


class Sheet(NamedTuple):
    """A visible sheet, and where it is in the file."""

    name: str
    part: str


class Relation(NamedTuple):
    """Another part that a part is made of."""

    part: str
    kind: str


@dataclass(frozen=True)
class Workbook:
    """An opened workbook: its visible sheets, and what their cells refer to."""

    archive: zipfile.ZipFile
    sheets: list[Sheet]
    frame: dict[str, bytes]
    strings: "_Strings | None"

    @classmethod
    def open(cls, file: IO[bytes]) -> "Workbook":
        """Read what a workbook says of its sheets, strings and formats.

        Raises:
            BadZipFile, KeyError, ExpatError, ValueError: it is damaged, or none.
        """
        archive = zipfile.ZipFile(file)
        main = _first(_relations(archive, ""), "officeDocument")
        relations = _relations(archive, main)
        sheets, since_1904 = _sheets(archive, main, relations)
        styles, strings = (_first(relations, kind) for kind in ("styles", "sharedStrings"))
        frame = _frame(since_1904=since_1904, styles=_read(archive, styles) if styles else None)
        return cls(archive, sheets, frame, _Strings(archive, strings) if strings else None)

    def rows(self, sheet: Sheet) -> Iterator[Row]:
        """Give a sheet's rows, in order, as `python_calamine` reads them."""
        for xml in _slices(self.archive, sheet.part, b"sheetData", b"row"):
            rows = SHARED.sub(MARKED, xml) if self.strings else xml
            first, values = _values(rows, self.frame)
            for number, cells in enumerate(values, first):
                yield Row(number, self.strings.resolved(cells) if self.strings else cells)


# ------------------------------------------------------------------------- what a workbook is made of


def _sheets(
    archive: zipfile.ZipFile, main: str, relations: dict[str, Relation]
) -> tuple[list[Sheet], bool]:
    sheets: list[Sheet] = []
    since_1904 = False
    for element, attributes in _elements(archive, main):
        if element == "workbookPr":
            since_1904 = attributes.get("date1904") in ("1", "true")
        elif element == "sheet" and attributes.get("state", "visible") == "visible":
            relation = relations[next(v for k, v in attributes.items() if k.split(":")[-1] == "id")]
            if relation.kind == "worksheet":
                sheets.append(Sheet(attributes.get("name", ""), relation.part))
    return sheets, since_1904


def _relations(archive: zipfile.ZipFile, part: str) -> dict[str, Relation]:
    folder, _, name = part.rpartition("/")
    return {
        attributes["Id"]: Relation(
            _path(folder, attributes["Target"]), attributes["Type"].rpartition("/")[2]
        )
        for element, attributes in _elements(archive, join(folder, "_rels", f"{name}.rels"))
        if element == "Relationship"
    }


def _path(folder: str, target: str) -> str:
    return target.lstrip("/") if target.startswith("/") else normpath(join(folder, target))


def _first(relations: dict[str, Relation], kind: str) -> str:
    return next((relation.part for relation in relations.values() if relation.kind == kind), "")


def _elements(archive: zipfile.ZipFile, part: str) -> list[tuple[str, Attributes]]:
    """Give a small part's elements by their names without prefix, with their attributes."""
    elements: list[tuple[str, Attributes]] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: elements.append(
        (name.split(":")[-1], attributes)
    )
    parser.StartDoctypeDeclHandler = _refuse
    parser.Parse(_read(archive, part), True)
    return elements


def _refuse(*_: object) -> None:
    raise ValueError("a workbook declares no document type")


def _read(archive: zipfile.ZipFile, part: str) -> bytes:
    with closing(archive.open(_stored(archive, part))) as opened:
        content = opened.read(LARGEST_HEAD + 1)
    if len(content) > LARGEST_HEAD:
        raise ValueError(f"{part} is larger than {LARGEST_HEAD} bytes")
    return content


def _stored(archive: zipfile.ZipFile, part: str) -> str:
    """Give a part's name as the archive has it: some writers do not keep its letter case."""
    names = {name.lower().replace("\\", "/"): name for name in archive.namelist()}
    return names.get(part.lower(), part)


# ------------------------------------------------------------------------------ slices of its rows


def _slices(archive: zipfile.ZipFile, part: str, within: bytes, each: bytes) -> Iterator[bytes]:
    """Give what is within an element in pieces of whole children, their names without prefix."""
    with closing(archive.open(_stored(archive, part))) as opened:
        prefix, pending = _head(opened, within)
        last, over = b"</%s%s>" % (prefix, each), b"</%s%s>" % (prefix, within)
        while True:
            whole, end, rest = pending.rpartition(last)
            if end:
                yield _without(prefix, whole + end)
            if over in rest:
                return
            block = opened.read(SLICE)
            if not block or len(rest) > LARGEST_ROW:
                raise ValueError(f"{part} ends within an element")
            pending = rest + block


def _head(opened: IO[bytes], within: bytes) -> tuple[bytes, bytes]:
    """Read up to an element; gives the names' prefix, and what was read behind its start."""
    head = b""
    while len(head) < LARGEST_HEAD and (block := opened.read(SLICE)):
        head += block
        root = ROOT.search(head)
        start = root and re.compile(rb"<(?:\w+:)?%s\b[^>]*>" % within).search(head, root.start())
        if root and start:
            return (root[1] + b":" if root[1] else b""), _behind(head, start)
    raise ValueError(f"there is no {within.decode()}")


def _behind(head: bytes, start: re.Match[bytes]) -> bytes:
    """Give what follows an element's start; its end, where it has none of its own."""
    if not start[0].endswith(b"/>"):
        return head[start.end() :]
    return b"</" + start[0][1:].split(None, 1)[0].rstrip(b"/>") + b">"


def _without(prefix: bytes, xml: bytes) -> bytes:
    return xml.replace(b"<" + prefix, b"<").replace(b"</" + prefix, b"</") if prefix else xml


def _values(rows: bytes, frame: dict[str, bytes]) -> tuple[int, list[list[Cell]]]:
    """Have some rows read as a workbook of their own; gives the number of the first, from 1."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in frame.items():
            archive.writestr(name, content)
        archive.writestr("xl/sheet.xml", SHEET % rows)
    made.seek(0)
    sheet = CalamineWorkbook.from_filelike(made).get_sheet_by_index(0)
    top, left = sheet.start or (0, 0)
    values = sheet.to_python()
    return top + 1, [[""] * left + row for row in values] if left else values


def _frame(*, since_1904: bool, styles: bytes | None) -> dict[str, bytes]:
    """Make what a workbook has around its one sheet."""
    relations = {"sheet.xml": "worksheet"} | ({"styles.xml": "styles"} if styles else {})
    frame = {
        "[Content_Types].xml": CONTENT_TYPES,
        "_rels/.rels": _related({"xl/workbook.xml": "officeDocument"}),
        "xl/workbook.xml": WORKBOOK % since_1904,
        "xl/_rels/workbook.xml.rels": _related(relations),
    }
    return frame | ({"xl/styles.xml": styles} if styles else {})


def _related(parts: dict[str, str]) -> bytes:
    relations = "".join(
        f'<Relationship Id="r{place}" Type="{DOCUMENT}/{kind}" Target="{part}"/>'
        for place, (part, kind) in enumerate(parts.items())
    )
    return f'<Relationships xmlns="{RELATIONS}">{relations}</Relationships>'.encode()


# ----------------------------------------------------------------------------------- shared strings


class _Strings:
    """A workbook's shared strings, in a file without a name."""

    def __init__(self, archive: zipfile.ZipFile, part: str) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the workbook
        self._starts = array("Q", [0])
        self._block = lru_cache(BLOCKS_IN_MEMORY)(self._read)
        frame = _frame(since_1904=False, styles=None)
        pending: list[str] = []
        for xml in _slices(archive, part, b"sst", b"si"):
            rows = xml.replace(b"<si/>", b"<si></si>")
            _, values = _values(rows.replace(b"<si>", STRING).replace(b"</si>", STRING_END), frame)
            pending += [str(row[1]) if len(row) > 1 else "" for row in values]
            whole = len(pending) // STRINGS_IN_A_BLOCK * STRINGS_IN_A_BLOCK
            self._write(pending[:whole])
            pending = pending[whole:]
        self._write(pending)

    def resolved(self, cells: list[Cell]) -> list[Cell]:
        """Give a row's cells with the strings in the places of their numbers."""
        return [
            self._get(int(cell[1:])) if isinstance(cell, str) and cell[:1] == MARK else cell
            for cell in cells
        ]

    def _get(self, number: int) -> str:
        return self._block(number // STRINGS_IN_A_BLOCK)[number % STRINGS_IN_A_BLOCK]

    def _write(self, strings: list[str]) -> None:
        for first in range(0, len(strings), STRINGS_IN_A_BLOCK):
            block = "\0".join(strings[first : first + STRINGS_IN_A_BLOCK]).encode(
                "utf-8", "replace"
            )
            self._file.write(block)
            self._starts.append(self._starts[-1] + len(block))

    def _read(self, block: int) -> list[str]:
        start, end = self._starts[block], self._starts[block + 1]
        self._file.seek(start)
        return self._file.read(end - start).decode().split("\0")
