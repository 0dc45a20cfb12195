"""Normalizing addresses, names and references of rows, or saying why they are invalid."""

import re
from collections.abc import Callable

from worker.languages.characters import INVISIBLE, visible
from worker.pools.reading.words import Meaning
from worker.tenancy import addresses

LONGEST = 320
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


class NotKeptError(ValueError):
    """A cell cannot be kept; the message says why."""


def words(cell: str) -> str:
    """Give a name or a reference as it is kept: as it stands, where all of it can be seen.

    Raises:
        NotKeptError: it is too long, or has what cannot be printed.
    """
    if cell.isascii() and cell.isprintable() and len(cell) <= LONGEST:
        return cell.strip()
    cell = cell.strip()
    if not cell.isprintable():
        cell = INVISIBLE.sub("", " ".join(cell.split()))
    if reason := unfit(cell):
        raise NotKeptError(reason)
    return cell


def unfit(*cells: str) -> str:
    """Say why a recipient, a name or a reference cannot be kept; an empty text where they can."""
    for cell in cells:
        if REPLACEMENT in cell:
            return "It is not valid UTF-8; save the file as UTF-8."
        if len(cell) > LONGEST:
            return f"A recipient, name or reference has up to {LONGEST} characters."
        if not cell.isprintable():
            return "A recipient, name or reference has a character that cannot be printed."
    return ""


def address(cell: str) -> str:
    """Give an e-mail address as it is kept.

    Raises:
        NotKeptError: it is none.
    """
    try:
        return addresses.normal(cell)
    except ValueError:
        raise NotKeptError(f"“{cell.strip()[:LONGEST]}” is not an e-mail address.") from None


def recipient(cell: str) -> str:
    """Give an address or a name as it is kept."""
    return address(cell) if addresses.MEANT.search(visible(cell)) else words(cell)


def named(cell: Callable[[Meaning], str]) -> str:
    """Give a row's name, whole or put together; `cell` gives what stands under a meaning.

    Raises:
        NotKeptError: it cannot be kept.
    """
    name, first, last = (
        words(cell(meaning)) for meaning in (Meaning.NAME, Meaning.FIRSTNAME, Meaning.LASTNAME)
    )
    return name or full_name(first, last)


def full_name(first: str, last: str) -> str:
    """Give a whole name; in East Asia the family's comes first."""
    pair = (last, first) if EAST_ASIAN.search(last + first) else (first, last)
    return " ".join(filter(None, pair))
