"""What a caller says about a file: the meanings of columns, columns to ignore, kind and encoding."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from worker import errors
from worker.pools import labels as labelling
from worker.pools.reading.files import Kind
from worker.pools.reading.words import Meaning, plain


class Purpose(StrEnum):
    """What a table's rows are."""

    KEYS = "keys"
    RECIPIENTS = "recipients"


# The meanings that are read, by purpose.
READ = {
    Purpose.KEYS: frozenset(Meaning) - {Meaning.COUNT},
    Purpose.RECIPIENTS: frozenset(Meaning) - {Meaning.USES},
}


def meanings(purpose: Purpose) -> frozenset[Meaning]:
    """Give the meanings that a column can have."""
    return READ[purpose]


@dataclass(frozen=True)
class ReadAs:
    """What a caller says about a file; everything else is found in the file.

    Attributes:
        columns: meanings, each with a heading or a column's number from 1.
        ignore: headings or numbers of columns to ignore.
        any_shape: accept lines that only K5a would refuse.
        kind: the declared kind of file.
        encoding: a text's character encoding.
        labels: those of every key, whatever its row says.
    """

    columns: tuple[tuple[Meaning, str], ...] = ()
    ignore: tuple[str, ...] = ()
    any_shape: bool = False
    kind: Kind | None = None
    encoding: str | None = None
    labels: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        columns: Iterable[str] = (),
        ignore: Iterable[str] = (),
        any_shape: bool = False,
        kind: Kind | None = None,
        encoding: str | None = None,
        labels: Iterable[str] = (),
    ) -> "ReadAs":
        """Read what a caller says; a column is `MEANING=HEADING`, or a heading alone: of the keys.

        Raises:
            InvalidInputError: there is no such meaning; the error lists them. Or a label is none.
        """
        said = tuple(_column(column) for column in columns)
        return cls(said, tuple(ignore), any_shape, kind, encoding, labelling.checked(labels))


NOTHING = ReadAs()


def is_called(heading: str, name: str) -> bool:
    """Say whether a name means a column's heading, regardless of case and signs."""
    if heading.strip().casefold() == name.strip().casefold():
        return True
    return bool(plain(name)) and plain(heading) == plain(name)


def _column(said: str) -> tuple[Meaning, str]:
    meaning, sign, heading = said.partition("=")
    if not sign:
        return Meaning.CODE, said.strip()
    try:
        return Meaning(meaning.strip().lower()), heading.strip()
    except ValueError:
        raise errors.InvalidInputError(
            f"“{meaning}” is no meaning of a column; one of {', '.join(Meaning)}.", field="column"
        ) from None
