"""A table's layout: its heading, and the meaning of each column."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile, islice

from worker import errors
from worker.languages.characters import INVISIBLE
from worker.pools.reading import delimiters, headings
from worker.pools.reading.cells import unquoted
from worker.pools.reading.headings import Row
from worker.pools.reading.read_as import READ, Purpose, ReadAs, is_called
from worker.pools.reading.records import ADDRESS, Dialect, Lines, Rows
from worker.pools.reading.texts import Block, Text, Typed
from worker.pools.reading.words import COUNTS_TOO, Meaning, is_ours, meanings_of, plain, spellings

SAMPLE = 200  # lines from which the layout is found
MOST_LOOKED_AT = 10_000  # blank ones included
LONGEST_LISTED = 320

SMALL_NUMBER = re.compile("[0-9]{1,6}")
ORDER_NUMBER = re.compile("#[A-Za-z0-9-]*[0-9]")
WHO = (Meaning.RECIPIENT, Meaning.EMAIL, Meaning.NAME, Meaning.FIRSTNAME, Meaning.LASTNAME)


@dataclass(frozen=True)
class Layout:
    """How a table is laid out.

    Attributes:
        dialect: how lines are split; None where each is one cell.
        heading: the heading's row, or None.
        skipped: numbers of the lines that are no rows: the heading, and what stands above it.
        places: the columns of each meaning that is read; the keys may be in several.
        unread: the columns that are not.
        unclear: those of them that the caller must say something of, if they hold what matters.
        sample: the first rows, without the heading.
    """

    dialect: Dialect | None
    heading: Row | None
    skipped: frozenset[int]
    places: dict[Meaning, tuple[int, ...]]
    unread: tuple[int, ...]
    unclear: tuple[int, ...]
    sample: list[Row]

    def rows(self, text: Text | Typed) -> Iterator[Rows]:
        """Give a text's rows, a block at a time, without those that are none of the table's."""
        last = max(self.skipped, default=0)
        for rows in self._all_rows(text):
            above = rows.numbers and rows.numbers[0] <= last
            yield _without(rows, self.skipped) if above else rows

    def _all_rows(self, text: Text | Typed) -> Iterator[Rows]:
        if self.dialect is not None:
            yield from self.dialect.rows(text.blocks())
            return
        yield from map(Lines, text.blocks())

    def name(self, place: int) -> str:
        """Give a column's heading, or its number from 1."""
        cells = self.heading.cells if self.heading else []
        return INVISIBLE.sub("", "".join(cells[place : place + 1])).strip() or str(place + 1)

    def place(self, meaning: Meaning) -> int | None:
        """Give the first column of a meaning; None where there is none."""
        return self.places[meaning][0] if meaning in self.places else None

    def cells(self, place: int, most: int, longest: int) -> list[str]:
        """Give what stands in a column first, cut short."""
        rows = [row.cells for row in self.sample if place < len(row.cells)]
        return [cells[place].strip()[:longest] for cells in rows[:most]]

    def names(self, places: Iterable[int]) -> str:
        """Give the headings of some columns."""
        return ", ".join(map(self.name, places))


def _without(rows: Rows, skipped: frozenset[int]) -> Rows:
    kept = [(n, row) for n, row in zip(rows.numbers, rows.cells, strict=True) if n not in skipped]
    return Rows([n for n, _ in kept], [row for _, row in kept], rows.unclosed)


def find(text: Text, read_as: ReadAs, purpose: Purpose) -> Layout:
    """Find a text's layout from its first lines.

    Raises:
        InvalidInputError: there is nothing in it, no such column as the caller names, or no telling
            which column holds the keys or the recipients.
    """
    block, said = _first_lines(text)
    filled = {n: line for n, line in enumerate(block.lines, block.first) if line.strip()}
    dialect = _dialect(text, list(filled.values()), said, read_as) if filled else None
    rows = _rows(block, dialect)
    if not rows:  # nor where every cell is blank, as in "|"
        raise errors.InvalidInputError("There is nothing in the input; give a key per line.")
    found = headings.find(rows, read_as, purpose)
    skipped = {found.row.number} | found.above if found else set()
    sample = [row for row in rows if row.number not in skipped]
    width = max((len(row.cells) for row in rows), default=1)
    columns = _Columns(width, found.row if found else None, sample, read_as, purpose)
    places = columns.places()
    if not set(filled) - skipped:
        raise errors.InvalidInputError(f"There are no {purpose} below the input's heading.")
    read = {place for some in places.values() for place in some}
    unread = tuple(place for place in columns.filled() if place not in read)
    return Layout(
        dialect=dialect and Dialect(dialect.delimiter, width, dialect.quoted),
        heading=found.row if found else None,
        skipped=frozenset(skipped | ({1} if said else set())),
        places=places,
        unread=unread,
        unclear=tuple(place for place in unread if columns.is_unclear(place)),
        sample=sample,
    )


def _first_lines(text: Text | Typed) -> tuple[Block, str | None]:
    """Give the lines that are looked at, and the delimiter that the very first says.

    They begin with the first that is not blank.
    """
    numbered = (
        (n, line) for block in text.blocks() for n, line in enumerate(block.lines, block.first)
    )
    looked_at = dropwhile(lambda pair: not pair[1].strip(), numbered)
    first, line = next(looked_at, (1, ""))
    said = (
        delimiters.said(line)
        if first == 1 and isinstance(text, Text) and not text.delimiter
        else None
    )
    lines, filled = [line], 1
    for _, line in islice(looked_at, MOST_LOOKED_AT):
        lines.append(line)
        filled += bool(line.strip())
        if filled == SAMPLE:
            break
    return (Block(2, lines[1:]) if said else Block(first, lines)), said


def _dialect(text: Text, filled: list[str], said: str | None, read_as: ReadAs) -> Dialect | None:
    if text.delimiter:
        return Dialect(text.delimiter, quoted=False)
    sign = said or delimiters.delimiter(filled, read_as)
    return Dialect(sign) if sign else None


def _rows(block: Block, dialect: Dialect | None) -> list[Row]:
    if dialect is None:
        split: Iterator[tuple[int, list[str]]] = (
            (number, [unquoted(line)]) for number, line in enumerate(block.lines, block.first)
        )
    else:
        parsed = dialect.rows([block])
        split = (pair for rows in parsed for pair in zip(rows.numbers, rows.cells, strict=True))
    return [Row(number, cells) for number, cells in split if any(map(str.strip, cells))]


class _Columns:
    """What each column means: what the caller says, what its heading says, what it holds."""

    def __init__(
        self, width: int, heading: Row | None, sample: list[Row], read_as: ReadAs, purpose: Purpose
    ) -> None:
        self._width, self._sample, self._told, self._purpose = width, sample, read_as, purpose
        cells = heading.cells if heading else []
        self._headings = [cell.strip() for cell in cells] + [""] * (width - len(cells))
        self._known = meanings_of(self._headings)
        self._ignored = {place for name in read_as.ignore for place in self._named(name)}

    def places(self) -> dict[Meaning, tuple[int, ...]]:
        """Give the columns of each meaning that is read."""
        places: dict[Meaning, tuple[int, ...]] = {}
        for said, name in self._told.columns:
            places[said] = places.get(said, ()) + self._named(name)[:1]
        taken = {place for some in places.values() for place in some} | self._ignored
        for place in range(self._width):
            meaning = None if place in taken else self._meaning(place)
            if meaning and (meaning not in places or self._is_another(meaning, place, places)):
                places[meaning] = (*places.get(meaning, ()), place)
        self._share_names(places)
        if self._purpose is Purpose.KEYS and not any(who in places for who in WHO):
            places.pop(Meaning.REFERENCE, None)  # of nobody: it is told as not read
        if self._purpose is Purpose.KEYS and Meaning.CODE not in places:
            places[Meaning.CODE] = self._keys_places(places)
        elif self._purpose is Purpose.RECIPIENTS and not any(who in places for who in WHO):
            places[Meaning.EMAIL] = self._addresses_place()
        return places

    def filled(self) -> list[int]:
        """Give the columns that have a heading or hold something."""
        return [p for p in range(self._width) if self._headings[p] or any(self._cells(p))]

    def is_unclear(self, place: int) -> bool:
        """Say whether the caller must say what an unread column means, if it has data that matters."""
        return place not in self._ignored and not is_ours(self._headings[place])

    def _named(self, name: str) -> tuple[int, ...]:
        """Give the columns with a name: by heading, else by number."""
        named = tuple(p for p, heading in enumerate(self._headings) if is_called(heading, name))
        if not named and name.isdecimal() and 1 <= int(name) <= self._width:
            named = (int(name) - 1,)
        if not named:
            listed = ", ".join(filter(None, self._headings)) or f"{self._width}, by their numbers"
            raise errors.InvalidInputError(
                f"There is no column “{name}” in the input; it has: {listed[:LONGEST_LISTED]}.",
                field="column",
            )
        return named

    def _meaning(self, place: int) -> Meaning | None:
        meaning = self._known[place]
        if plain(self._headings[place]) in spellings(COUNTS_TOO) and self._all(place, SMALL_NUMBER):
            meaning = Meaning.COUNT
        elif meaning is Meaning.NAME and Meaning.REFERENCE not in self._known:
            meaning = Meaning.REFERENCE if self._all(place, ORDER_NUMBER) else Meaning.NAME
        return meaning if meaning in READ[self._purpose] else None

    def _is_another(
        self, meaning: Meaning, place: int, places: dict[Meaning, tuple[int, ...]]
    ) -> bool:
        """Say whether a column is one of several key columns: Key 1, Key 2, or the same word twice."""
        if meaning is not Meaning.CODE or self._purpose is not Purpose.KEYS:
            return False
        names = [plain(self._headings[p]) for p in (places[meaning][0], place)]
        return names[0] == names[1] or names[0].removesuffix("1") == names[1].rstrip("0123456789")

    def _share_names(self, places: dict[Meaning, tuple[int, ...]]) -> None:
        """Read a name beside a first name as the last name, and the other way round."""
        pair = {Meaning.FIRSTNAME, Meaning.LASTNAME}
        missing = pair - places.keys()
        if len(missing) == 1 and Meaning.NAME in places:
            places[missing.pop()] = places.pop(Meaning.NAME)

    def _keys_places(self, places: dict[Meaning, tuple[int, ...]]) -> tuple[int, ...]:
        """Find the columns of keys: all named ones, or the one that looks most like keys."""
        taken = {place for some in places.values() for place in some} | self._ignored
        free = [place for place in self.filled() if place not in taken]
        if len(free) == 1:
            return tuple(free)
        likely = {place: self._likeness(place) for place in free}
        if all(likely[place] > 0.5 for place in free) and not any(self._headings):
            return tuple(free)
        best = sorted(free, key=lambda place: -likely[place])
        if not free or (likely[best[1]] > 0.5 or not likely[best[0]]):
            raise errors.InvalidInputError(
                "It is unclear which column holds the keys; say it: the column “code” is one of "
                f"{', '.join(self._headings[p] or str(p + 1) for p in free)}.",
                field="column",
            )
        return (best[0],)

    def _likeness(self, place: int) -> float:
        """Give the share of a column that are distinct keys."""
        cells = [cell for cell in self._cells(place) if cell]
        parts = {cell for cell in cells if headings.is_key(cell)}
        return len(parts) / len(cells) if cells else 0

    def _addresses_place(self) -> tuple[int, ...]:
        if self._width == 1 and self._all(0, ADDRESS):
            return (0,)
        raise errors.InvalidInputError(
            "No column says who the recipients are; begin with email,name,count,reference, or say "
            "which column is “email”.",
            field="column",
        )

    def _all(self, place: int, pattern: re.Pattern[str]) -> bool:
        cells = [cell for cell in self._cells(place) if cell]
        return bool(cells) and all(pattern.fullmatch(cell) for cell in cells)

    def _cells(self, place: int) -> list[str]:
        return [row.cells[place].strip() for row in self._sample if place < len(row.cells)]
