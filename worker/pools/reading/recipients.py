"""Recipients out of a table: who gets how many keys, or which, under which reference.

A table of recipients is served whole or not at all; so every row that is wrong is told at once.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from worker import errors
from worker.pools import codes
from worker.pools.reading import counts, people, states
from worker.pools.reading.judging import UNCLOSED
from worker.pools.reading.keys import unclear
from worker.pools.reading.layouts import Layout
from worker.pools.reading.owners import Owners
from worker.pools.reading.records import ADDRESS
from worker.pools.reading.texts import Text, Typed
from worker.pools.reading.words import Meaning

WHOLE_NUMBER = re.compile(r"[-+]?[0-9][0-9.,' ]*")
LISTED = 20  # wrong rows in an error's sentence; the error has all


@dataclass(frozen=True)
class Recipient:
    """A row: so many keys, or the very key, for one recipient; what a row does not say is None or empty."""

    line: int
    recipient: str
    name: str = ""
    reference: str = ""
    count: int | None = None
    code: str = ""
    labels: str = ""  # as `labels.joined` writes them


class Wrong(NamedTuple):
    """A row that cannot be served, or is not to be, and why."""

    line: int
    reason: str


@dataclass
class Recipients:
    """Whom a table names, and which rows get nothing: refunded and cancelled orders."""

    rows: list[Recipient] = field(default_factory=list)
    left_out: list[Wrong] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)


@dataclass(frozen=True)
class RecipientReader:
    """Reads the recipients of one table."""

    text: Text | Typed
    layout: Layout
    owners: Owners

    def read(self, *, reference: str = "") -> Recipients:
        """Read all rows; `reference` is of those that have none.

        Raises:
            InvalidInputError: a column that is not read holds addresses, or whole numbers where no
                count was found; or rows are wrong: the error has them all.
        """
        found, rows = Recipients(), []
        for block in self.layout.rows(self.text):
            rows += [row for row in zip(block.numbers, block.cells, strict=True) if any(row[1])]
            found.wrong += [Wrong(number, UNCLOSED) for number, _ in block.unclosed]
        self._refuse_unclear([cells for _, cells in rows])
        decimals = self._decimals([cells for _, cells in rows])
        for number, cells in rows:
            if any(map(str.strip, cells)):
                self._read_row(number, cells, decimals, reference, found)
        _refuse_twice(found)
        if found.wrong:
            raise wrong_rows(sorted(found.wrong))
        if not found.rows:
            raise errors.InvalidInputError("No row of the table is to be given a key.")
        return found

    def _read_row(
        self, number: int, cells: list[str], decimals: str | None, reference: str, found: Recipients
    ) -> None:
        served = states.is_served(state := self._cell(cells, Meaning.STATE))
        if served is False:
            found.left_out.append(Wrong(number, f"Its state is “{state}”."))
            return
        try:
            if served is None:
                raise people.NotKeptError(
                    f"Its state is “{state}”, of which it is not known whether a key is due; leave the "
                    "row away, or have the column ignored."
                )
            found.rows.append(self._recipient(number, cells, decimals, reference))
        except ValueError as error:
            found.wrong.append(Wrong(number, str(error)))

    def _recipient(
        self, number: int, cells: list[str], decimals: str | None, reference: str
    ) -> Recipient:
        owner = self.owners.of(cells)
        code = codes.supplied(self._cell(cells, Meaning.CODE))
        count = self._cell(cells, Meaning.COUNT)
        if not owner.recipient or self._lacks_address(cells):
            raise people.NotKeptError("There is no recipient; give an e-mail address or a name.")
        if code and (refusal := codes.refusal(code)):
            raise people.NotKeptError(refusal)
        many = counts.read(count, decimals) if count else None
        if code and many not in (None, 1):
            raise people.NotKeptError(
                f"It names one key and asks for {many}; leave one of them away."
            )
        return Recipient(
            line=number,
            recipient=owner.recipient,
            name=owner.name,
            reference=owner.reference or reference,
            count=many,
            code=code,
            labels=owner.labels,
        )

    def _lacks_address(self, cells: list[str]) -> bool:
        """Say whether a row has no address though the table has a column for it: a name is no substitute."""
        return Meaning.EMAIL in self.layout.places and not self._cell(cells, Meaning.EMAIL)

    def _cell(self, cells: list[str], meaning: Meaning) -> str:
        return self.owners.cell(cells, meaning)

    def _decimals(self, rows: list[list[str]]) -> str | None:
        """Say by which sign the table's numbers separate decimals."""
        counted = [cell for cells in rows if (cell := self._cell(cells, Meaning.COUNT))]
        others = (cell for cells in rows for cell in cells)
        return counts.decimal_sign(others, counted)

    def _refuse_unclear(self, rows: list[list[str]]) -> None:
        """Refuse columns that are not read, and could be whom the keys are for, or how many they are."""
        for place in self.layout.unclear:
            cells = [row[place].strip() for row in rows if place < len(row) and row[place].strip()]
            name = self.layout.name(place)
            if any(map(ADDRESS.fullmatch, cells)):
                raise errors.InvalidInputError(
                    unclear(name, "e-mail addresses", "recipient"), field="column"
                )
            numbers = bool(cells) and all(map(WHOLE_NUMBER.fullmatch, cells))
            if numbers and not self.layout.places.keys() & {Meaning.COUNT, Meaning.CODE}:
                raise errors.InvalidInputError(unclear(name, "numbers", "count"), field="column")


def _refuse_twice(found: Recipients) -> None:
    """Refuse rows of one recipient and reference, unless each names its key; and one key for two rows."""
    holders: dict[tuple[str, str], Recipient] = {}
    lines: dict[str, int] = {}
    for row in found.rows:
        first = holders.setdefault((row.recipient.lower(), row.reference), row)
        line = lines.setdefault(codes.canonical(row.code), row.line) if row.code else row.line
        if first is not row and not (first.code and row.code):
            reason = f"It has the same recipient and reference as line {first.line}."
        elif line != row.line:
            reason = f"It has the same key as line {line}."
        else:
            continue
        found.wrong.append(Wrong(row.line, reason))


def wrong_rows(wrong: list[Wrong]) -> errors.InvalidInputError:
    """Say which rows of a table are wrong: all of them, with what to do."""
    listed = " ".join(f"Line {line}: {reason}" for line, reason in wrong[:LISTED])
    more = f" And {len(wrong) - LISTED:,} more." if len(wrong) > LISTED else ""
    return errors.InvalidInputError(listed + more, line=wrong[0].line, rows=wrong)
