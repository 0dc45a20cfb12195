"""Fitting to a terminal: how wide a table's columns are, where a text is cut, and where one is broken."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

GAP, NARROW_GAP = 3, 2  # cells between two columns, where there is room and where it is scarce

# Texts that say as much when they are cut: sentences, names of several words, addresses.
PROSE = re.compile(r"\s|@|://")
# A time as people read it: it is kept whole.
TIME = re.compile(r"\d{1,2} [A-Z][a-z]{2} \d{4}, \d\d:\d\d UTC")

# What is kept, step by step, as room gets scarce: cells of prose, and letters of a heading above
# numbers, keys and times. These are themselves cut in the last step alone.
STEPS = ((12, 100), (12, 4), (8, 4), (4, 2))
CUT = 1

NARROWEST = 20  # lines that a text is broken into


@dataclass
class Column:
    """A column's heading and cells, as texts."""

    heading: str
    cells: Sequence[str]

    @property
    def natural(self) -> int:
        """The width that shows all of it."""
        return max(cell_len(self.heading), self._widest)

    def floor(self, prose: int, letters: int) -> int:
        """Give the width that it may come down to."""
        if any(PROSE.search(cell) and not TIME.fullmatch(cell) for cell in self.cells):
            return min(prose, self.natural)
        word = max(map(cell_len, self.heading.split()), default=0)
        return max(min(word, letters), self._widest)

    @property
    def _widest(self) -> int:
        return max(map(cell_len, self.cells), default=0)


def widths(columns: Sequence[Column], room: int) -> list[int]:
    """Give each column's width, so that all fit in `room` cells if that can be.

    Prose gives way first, the widest first; then headings; numbers, keys and times only when
    nothing else is left.
    """
    given = [column.natural for column in columns]
    room -= gap(columns, room) * (len(columns) - 1)
    for step in STEPS:
        _narrow(given, [column.floor(*step) for column in columns], room)
    _narrow(given, [CUT] * len(columns), room)
    return given


def gap(columns: Sequence[Column], room: int) -> int:
    """Give the cells between two columns."""
    natural = sum(column.natural for column in columns) + GAP * (len(columns) - 1)
    return GAP if natural <= room else NARROW_GAP


def crowded(columns: Sequence[Column], room: int) -> bool:
    """Say whether prose would have to become shorter than people can read."""
    least = sum(column.floor(*STEPS[0]) for column in columns)
    return least + NARROW_GAP * (len(columns) - 1) > room


def _narrow(given: list[int], floors: Sequence[int], room: int) -> None:
    """Take a cell from the widest column that is above its floor, until all fit or none is."""
    while sum(given) > room:
        above = [n for n, width in enumerate(given) if width > floors[n]]
        if not above:
            return
        given[max(above, key=lambda n: given[n])] -= 1


def shortened(text: str, width: int) -> str:
    """Cut a text to a width with "…" at the end of a word; inside a word if not one fits."""
    if cell_len(text) <= width:
        return text
    kept = set_cell_size(text, width - 1)
    if text[len(kept)].isalnum():
        kept = kept.rpartition(" ")[0].rstrip() or kept
    return kept.rstrip(" ,.;:–-(") + "…"


def broken(text: str, width: int) -> list[str]:
    """Break a text into lines of a width, at least one; a word, such as a key or an address, stays whole."""
    lines = textwrap.wrap(
        text, max(width, NARROWEST), break_long_words=False, break_on_hyphens=False
    )
    return lines or [text]
