"""The owner of a row's keys: recipient, name, reference, labels."""

from typing import NamedTuple

from worker.pools import labels
from worker.pools.reading import people
from worker.pools.reading.cells import unguarded
from worker.pools.reading.layouts import Layout
from worker.pools.reading.words import Meaning


class Owner(NamedTuple):
    """Whom a key is for; what is not said is empty."""

    recipient: str = ""
    name: str = ""
    reference: str = ""
    labels: str = ""  # as `labels.joined` writes them


NOBODY = Owner()

ADDRESSES = (Meaning.EMAIL, Meaning.RECIPIENT)
NAMES = (Meaning.NAME, Meaning.FIRSTNAME, Meaning.LASTNAME)
OTHERS = (Meaning.REFERENCE, Meaning.LABELS)


class Owners:
    """Reads the owners of a table's rows."""

    def __init__(self, layout: Layout, *, common: tuple[str, ...] = ()) -> None:
        self._common = common  # labels of every row, which those that a row says come behind
        self._places = {meaning: layout.place(meaning) for meaning in Meaning}
        self.known = any(self._places[m] is not None for m in (*ADDRESSES, *NAMES, *OTHERS))
        dialect = layout.dialect
        self._is_text = dialect is None or dialect.quoted  # what keypool writes is guarded there
        self._named = any(self._places[meaning] is not None for meaning in NAMES)

    def cell(self, row: list[str], meaning: Meaning) -> str:
        """Give the cell with a meaning; empty if there is none."""
        place = self._places[meaning]
        if place is None or place >= len(row):
            return ""
        cell = row[place].strip()
        return unguarded(cell) if self._is_text and cell[:1] in ("'", "=") else cell

    def of(self, row: list[str]) -> Owner:
        """Give the owner of a row's keys.

        Raises:
            NotKeptError: an address is none, or another cell cannot be kept.
        """
        name = people.named(lambda meaning: self.cell(row, meaning)) if self._named else ""
        reference = self.cell(row, Meaning.REFERENCE)
        return Owner(
            self._recipient(row, name),
            name,
            people.words(reference) if reference else "",
            self._labels(row),
        )

    def _recipient(self, row: list[str], name: str) -> str:
        if email := self.cell(row, Meaning.EMAIL):
            return people.address(email)
        named = self.cell(row, Meaning.RECIPIENT) or name
        return people.recipient(named) if named else ""

    def _labels(self, row: list[str]) -> str:
        cell = self.cell(row, Meaning.LABELS)
        if not cell:
            return ""
        read = labels.split(*self._common, cell)
        if reason := labels.refusal(read):
            raise people.NotKeptError(reason)
        return labels.joined(read)
