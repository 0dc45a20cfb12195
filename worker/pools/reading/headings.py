"""Finding a table's heading: known words in the first lines, or a line unlike those that follow."""

import re
from typing import NamedTuple

from worker.pools import codes
from worker.pools.reading import slips
from worker.pools.reading.cells import codes_in
from worker.pools.reading.norms import ALIKE, FEWEST, Norm
from worker.pools.reading.read_as import Purpose, ReadAs, is_called
from worker.pools.reading.records import ADDRESS
from worker.pools.reading.shapes import Shapes, groups
from worker.pools.reading.words import is_ours, meanings_of

TOP = 10  # rows within which a heading is found
NUMBER = re.compile(r"[-+]?[\d.,' ]*\d")


class Row(NamedTuple):
    """One of a table's first rows, without blank ones."""

    number: int
    cells: list[str]


class Heading(NamedTuple):
    """A heading's row, and the lines above it that do not belong to the table."""

    row: Row
    above: frozenset[int]


def find(rows: list[Row], read_as: ReadAs, purpose: Purpose) -> Heading | None:
    """Find the heading in a table's first rows; None if there is none."""
    return _by_words(rows, read_as, purpose) or _by_unlikeness(rows, read_as, purpose)


def known(cells: list[str], read_as: ReadAs) -> int:
    """Count the cells of a row that are headings, known ones or named by the caller."""
    names = [heading for _, heading in read_as.columns] + list(read_as.ignore)
    return sum(
        meaning is not None or is_ours(cell) or any(is_called(cell, name) for name in names)
        for cell, meaning in zip(cells, meanings_of(cells), strict=True)
        if cell.strip()
    )


def _by_words(rows: list[Row], read_as: ReadAs, purpose: Purpose) -> Heading | None:
    heading = _best(rows[:TOP], read_as)
    if heading is None:
        return None
    above = [
        row
        for row in rows[:heading]
        if not _belongs_below(row, rows[heading], rows[heading + 1 :], purpose)
    ]
    return Heading(rows[heading], frozenset(row.number for row in above))


def _best(rows: list[Row], read_as: ReadAs) -> int | None:
    """Give the place of the row with the most known words; the lowest, as long as no data is between."""
    best, most, passed_data = None, 0, False
    for place, row in enumerate(rows):
        if _is_data(row):
            passed_data = best is not None
            continue
        number = known(row.cells, read_as)
        if number > most or (number == most and number and not passed_data):
            best, most, passed_data = place, number, False
    return best


def _by_unlikeness(rows: list[Row], read_as: ReadAs, purpose: Purpose) -> Heading | None:
    """Find rows without a digit above rows that hold a key each, or an address."""
    first = next((n for n, row in enumerate(rows) if _holds(row, purpose)), None)
    if first is None or first >= TOP:
        return None
    heading = next((n for n in reversed(range(first)) if not _has_digit(rows[n])), None)
    if heading is None or (purpose is Purpose.KEYS and not _is_unlike(rows, heading, read_as)):
        return None
    return Heading(rows[heading], frozenset(row.number for row in rows[:heading]))


def _is_unlike(rows: list[Row], heading: int, read_as: ReadAs) -> bool:
    below = [row for row in rows[heading + 1 :] if any(map(str.strip, row.cells))]
    if sum(_holds(row, Purpose.KEYS) for row in below) < ALIKE * len(below):
        return False
    cells = [codes.supplied(cell) for cell in rows[heading].cells]
    if len(cells) > 1 or not codes.is_well_formed(cells[0]):
        return True
    if read_as.any_shape:
        return False
    return len(below) >= FEWEST or groups(cells[0]) != groups(codes.supplied(below[0].cells[0]))


def _is_data(row: Row) -> bool:
    """Say whether a row has something that no heading has: an address, a key, a number or a date."""
    return any(
        bool(ADDRESS.fullmatch(cell) or NUMBER.fullmatch(cell) or slips.is_date(cell))
        or (is_key(cell) and meaning is None and not is_ours(cell))
        for cell, meaning in zip(map(str.strip, row.cells), meanings_of(row.cells), strict=True)
    )


def _holds(row: Row, purpose: Purpose) -> bool:
    if purpose is Purpose.RECIPIENTS:
        return any(ADDRESS.fullmatch(cell.strip()) for cell in row.cells)
    return any(map(is_key, row.cells))


def _belongs_below(row: Row, heading: Row, below: list[Row], purpose: Purpose) -> bool:
    """Say whether a row above a heading is like those below it, so that it is no title."""
    if len(_filled(row)) < min(2, len(_filled(heading))):
        return False
    if purpose is Purpose.RECIPIENTS:
        return _holds(row, purpose)
    shapes = Shapes()
    others = [codes.supplied(c) for other in below for c in other.cells if is_key(c)]
    for code in others:
        shapes.add(code)
    norm = Norm(shapes, sample=others)
    mine = [codes.supplied(cell) for cell in row.cells if is_key(cell)]
    return any(
        groups(code) in map(groups, others) and not norm.unlike(code) and not norm.notice(code)
        for code in mine
    )


def _filled(row: Row) -> list[str]:
    return [cell for cell in row.cells if cell.strip()]


def _has_digit(row: Row) -> bool:
    return any(character.isdigit() for cell in row.cells for character in cell)


def is_key(cell: str) -> bool:
    """Say whether a cell could be a key with a digit, as nearly all keys have one."""
    return any(
        codes.is_well_formed(code) and codes.DIGIT.search(code) and not slips.is_date(code)
        for code in codes_in(cell)
    )
