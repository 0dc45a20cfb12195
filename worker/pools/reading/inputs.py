"""An input from end to end: opened, laid out, told of in a report, and read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from typing_extensions import TypedDict

from worker import errors
from worker.pools.reading import files, layouts, series
from worker.pools.reading.blocks import Keys
from worker.pools.reading.headings import Row
from worker.pools.reading.keys import KeyReader
from worker.pools.reading.layouts import SAMPLE, Layout
from worker.pools.reading.norms import Norm
from worker.pools.reading.owners import Owners
from worker.pools.reading.read_as import NOTHING, Purpose, ReadAs
from worker.pools.reading.recipients import RecipientReader, Recipients
from worker.pools.reading.shapes import Shapes
from worker.pools.reading.texts import Text, Typed
from worker.pools.reading.words import Meaning
from worker.pools.reading.workbooks import DELIMITER

SHOWN = 3  # cells of a column, to tell what it is
LONGEST_SHOWN = 60


class Read(TypedDict):
    """What was read as what."""

    encoding: str | None
    """A text's character encoding; null of a workbook, and of keys given one by one."""
    delimiter: str | None
    """What separates a text's columns; null where there is one."""
    heading_line: int | None
    """The line of the heading; null where there is none."""
    columns: dict[str, str]
    """Each meaning with the heading of its column, or with its number from 1."""
    not_read: list[str]
    """The columns that are not read."""
    sheet: str | None
    """The sheet of a workbook that is read."""
    other_sheets: list[str]
    """Its other sheets that hold something, and are not."""
    warnings: list[str]
    """What whoever gives the keys should know of them, in sentences."""


class Column(TypedDict):
    """A column of an input: its heading or number, what it is read as, and what stands in it first."""

    column: str
    meaning: str | None
    cells: list[str]


@dataclass(frozen=True)
class Input:
    """An input that is laid out, and can be read."""

    text: Text | Typed
    layout: Layout
    read_as: ReadAs = NOTHING
    sheet: str | None = None
    other_sheets: list[str] = field(default_factory=list)

    @property
    def _is_text(self) -> bool:
        return self.sheet is None and isinstance(self.text, Text)

    @property
    def read(self) -> Read:
        """Say what was read as what."""
        layout = self.layout
        delimiter = layout.dialect.delimiter if layout.dialect else None
        return {
            "encoding": self.text.encoding if self._is_text else None,
            "delimiter": None if delimiter == DELIMITER else delimiter,
            "heading_line": layout.heading.number if layout.heading else None,
            "columns": {str(m): layout.names(places) for m, places in layout.places.items()},
            "not_read": [layout.name(place) for place in layout.unread],
            "sheet": self.sheet,
            "other_sheets": self.other_sheets,
            "warnings": list(filter(None, [series.warning(self._first_keys())])),
        }

    def _first_keys(self) -> list[str]:
        places = self.layout.places.get(Meaning.CODE, ())
        return [key for place in places for key in self.layout.cells(place, SAMPLE, LONGEST_SHOWN)]

    @property
    def columns(self) -> list[Column]:
        """Give all columns in their order, for a person to say what they are."""
        meanings = {place: str(m) for m, places in self.layout.places.items() for place in places}
        places = sorted({*meanings, *self.layout.unread})
        return [
            {
                "column": self.layout.name(place),
                "meaning": meanings.get(place),
                "cells": self.layout.cells(place, SHOWN, LONGEST_SHOWN),
            }
            for place in places
        ]

    def keys(self) -> Iterator[Keys]:
        """Give the keys, a block at a time.

        Raises:
            InvalidInputError: a column that is not read holds e-mail addresses. It is raised before
                the first block is given.
        """
        reader = KeyReader(self.text, self.layout, self.read_as)
        # Whoever gives keys one by one means each of them.
        norm = Norm(Shapes()) if isinstance(self.text, Typed) else reader.survey()
        return reader.blocks(norm)

    def recipients(self, *, reference: str = "") -> Recipients:
        """Give the recipients; `reference` is of those that say none.

        Raises:
            InvalidInputError: rows are wrong, or a column has to be told.
        """
        owners = Owners(self.layout, common=self.read_as.labels)
        return RecipientReader(self.text, self.layout, owners).read(reference=reference)


def opened(
    stream: BinaryIO, *, read_as: ReadAs = NOTHING, purpose: Purpose = Purpose.KEYS
) -> Input:
    """Open what somebody gave, and tell how it is laid out.

    Raises:
        InvalidInputError: it is no table, is empty, or cannot be told from another thing.
    """
    file = files.opened(stream, kind=read_as.kind, encoding=read_as.encoding)
    layout = layouts.find(file.text, read_as, purpose)
    return Input(file.text, layout, read_as, file.sheet, file.other_sheets)


def columns(
    stream: BinaryIO, *, read_as: ReadAs = NOTHING, purpose: Purpose = Purpose.KEYS
) -> list[Column]:
    """Give an input's columns, for a person to say what they are, also where they cannot be told.

    Raises:
        InvalidInputError: it is no table, or is empty.
    """
    try:
        return opened(stream, read_as=read_as, purpose=purpose).columns
    except errors.InvalidInputError as error:
        if error.field != "column":
            raise
    # Any meaning of the first column makes a layout of it; what it means is not said, then.
    stand_in = Meaning.CODE if purpose is Purpose.KEYS else Meaning.EMAIL
    read_as = replace(read_as, columns=((stand_in, "1"),), ignore=())
    found = opened(stream, read_as=read_as, purpose=purpose).columns
    return [{**column, "meaning": None} for column in found]


def pasted(input_: Input, *, most: int) -> str:
    """Give an input as lines of text, as somebody would paste it: a workbook's cells between tabs.

    Raises:
        InvalidInputError: it has more characters than `most`.
    """
    lines: list[str] = []
    left = most
    for block in input_.text.blocks():
        left -= sum(len(line) + 1 for line in block.lines)
        if left < 0:
            raise errors.InvalidInputError(
                f"The file has more than {most >> 20} million characters: save the pool first, and"
                " add the file on its page.",
                field="pasted",
            )
        lines += block.lines
    return "\n".join(lines).replace(DELIMITER, "\t")


def typed(codes: Iterable[str], *, read_as: ReadAs = NOTHING) -> Input:
    """Take keys that were given one by one: nothing among them is a heading, and none has columns.

    Raises:
        InvalidInputError: there is none.
    """
    lines = list(codes)
    filled = [Row(number, [line]) for number, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        raise errors.InvalidInputError("There is nothing in the input; give a key per line.")
    layout = Layout(None, None, frozenset(), {Meaning.CODE: (0,)}, (), (), filled[:SAMPLE])
    return Input(Typed(lines), layout, read_as)
