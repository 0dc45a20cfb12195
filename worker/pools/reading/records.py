"""Splitting lines into rows of cells, at the delimiter, with quoting as in CSV.

A quoted cell may contain line breaks (RFC 4180). An unclosed quotation mark invalidates its own line,
not those below: a cell that would swallow a whole row is not taken.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from worker.pools.codes import DIGIT, is_well_formed
from worker.pools.reading.texts import LONGEST_LINE, Block

MOST_LINES = 200  # lines in a quoted cell
ADDRESS = re.compile(r"[^@\s,;\"<>()]+@[^@\s,;\"<>()]+")

csv.field_size_limit(LONGEST_LINE + 1)


class Rows:
    """Rows of cells with their line numbers; `unclosed` are lines with an unclosed quotation mark."""

    def __init__(
        self,
        numbers: list[int] | range,
        cells: list[list[str]] | None = None,
        unclosed: list[tuple[int, str]] | None = None,
    ) -> None:
        self.numbers = numbers
        self._cells = cells or []
        self.unclosed = unclosed or []

    @property
    def cells(self) -> list[list[str]]:
        """The rows."""
        return self._cells

    def column(self, place: int) -> list[str]:
        """Give the cells of one column, trimmed; empty where a row has none."""
        try:
            return [row[place].strip() for row in self.cells]
        except IndexError:
            return [row[place].strip() if place < len(row) else "" for row in self.cells]

    def some(self, places: list[int]) -> "Rows":
        """Give the rows in some places, without blank ones and with the lines that are no rows."""
        filled = [place for place in places if any(map(str.strip, self.cells[place]))]
        numbers = [self.numbers[place] for place in filled]
        return Rows(numbers, [self.cells[place] for place in filled], self.unclosed)


class Lines(Rows):
    """Rows of one cell each: the lines themselves, which are seldom split."""

    def __init__(self, block: Block) -> None:
        super().__init__(range(block.first, block.first + len(block.lines)))
        self._lines = block.lines

    @property
    def cells(self) -> list[list[str]]:
        """The rows, made again at each call."""
        return [[line] for line in self._lines]

    def column(self, place: int) -> list[str]:
        """Give the lines, trimmed."""
        return list(map(str.strip, self._lines))

    def some(self, places: list[int]) -> Rows:
        """Give the lines in some places, without blank ones."""
        filled = [place for place in places if self._lines[place].strip()]
        return Rows([self.numbers[p] for p in filled], [[self._lines[p]] for p in filled])


@dataclass(frozen=True)
class Dialect:
    """How a table's lines are split: at what, into how many columns, and whether cells are quoted."""

    delimiter: str
    width: int = 0  # columns; 0 where it is not known yet
    quoted: bool = True

    def rows(self, blocks: Iterable[Block]) -> Iterator[Rows]:
        """Split the lines of a text, a block at a time; blank lines come as rows without cells."""
        held = Block(1, [])
        for block in blocks:
            if held.lines:
                block = Block(held.first, held.lines + block.lines)
            rows, held = self._split(block, last=False)
            yield rows
        if held.lines:
            yield self._split(held, last=True)[0]

    def _split(self, block: Block, *, last: bool) -> tuple[Rows, Block]:
        """Split a block; gives also its last lines, where they may go on in the next."""
        first, lines = block
        whole = Block(first + len(lines), [])
        numbers = range(first, whole.first)
        if not self.quoted or not any('"' in line for line in lines):
            return Rows(numbers, [line.split(self.delimiter) for line in lines]), whole
        if (cells := self._parsed_at_once(lines)) is not None:
            return Rows(numbers, cells), whole
        return self._split_slowly(block, last=last)

    def _parsed_at_once(self, lines: list[str]) -> list[list[str]] | None:
        """Parse lines of which each is a row; None where one is not, or is not as it should be."""
        try:
            cells = list(self._reader(lines, strict=True))
        except csv.Error:
            return None
        return cells if len(cells) == len(lines) else None

    def _split_slowly(self, block: Block, *, last: bool) -> tuple[Rows, Block]:
        numbers: list[int] = []
        cells: list[list[str]] = []
        unclosed: list[tuple[int, str]] = []
        place, lines = 0, block.lines
        while place < len(lines):
            end = self._end(lines, place)
            if end is None and not last and len(lines) - place < MOST_LINES:
                break
            number = block.first + place
            if end is None or self._swallows(lines[place : end + 1]):
                unclosed.append((number, lines[place]))
                place += 1
            else:
                numbers.append(number)
                cells.append(self.parsed("\n".join(lines[place : end + 1])))
                place = end + 1
        return Rows(numbers, cells, unclosed), Block(block.first + place, lines[place:])

    def _end(self, lines: list[str], place: int) -> int | None:
        """Say on which line a row ends; None where its quotation mark does not close."""
        if not self._is_open(lines[place]):
            return place
        for end in range(place + 1, min(len(lines), place + MOST_LINES)):
            if '"' in lines[end] and not self._is_open("\n".join(lines[place : end + 1])):
                return end
        return None

    def _is_open(self, text: str) -> bool:
        """Say whether a quoted cell of a row is still open at its end."""
        if '"' not in text:
            return False
        at = re.escape(self.delimiter)
        closed = rf'(?:^|(?<={at}))[ ]*"(?:[^"]|"")*"(?:[^{at}\n][^{at}\n]*)?'
        rest = re.sub(closed, "", text)
        return re.search(rf'(?:^|(?<={at}))[ ]*"', rest) is not None

    def _swallows(self, lines: list[str]) -> bool:
        """Say whether the lines that a quoted cell would swallow are rows themselves."""
        if len(lines) == 1:
            return False
        *within, end = lines[1:]
        inside = end.split('"')[0]
        return any(self._is_row(line, self.width) for line in within) or self._is_row(inside, 2)

    def _is_row(self, line: str, width: int) -> bool:
        cells = line.split(self.delimiter)
        if len(cells) < max(2, width):
            return False
        return any(tells(cell.strip(' "')) for cell in cells)

    def parsed(self, row: str) -> list[str]:
        """Parse one row as well as possible."""
        if '"' not in row:
            return row.split(self.delimiter)
        try:
            return next(self._reader([row], strict=False), [])
        except csv.Error:
            return row[:LONGEST_LINE].split(self.delimiter)

    def _reader(self, lines: list[str], *, strict: bool) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True, strict=strict)


def tells(cell: str) -> bool:
    """Say whether a cell holds a key or an address."""
    return bool(ADDRESS.fullmatch(cell)) or (is_well_formed(cell) and bool(DIGIT.search(cell)))
