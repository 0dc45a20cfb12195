"""Validating the keys in a cell (K2, K5a)."""

from dataclasses import dataclass
from typing import NamedTuple

from worker.pools import codes
from worker.pools.reading import slips
from worker.pools.reading.cells import codes_in
from worker.pools.reading.norms import Norm
from worker.pools.reading.texts import LONGEST_LINE

LONGEST_SHOWN = 100  # characters shown of an invalid code
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
NO_KEY = "There is no key in the line."
UNCLOSED = "A quotation mark in the line does not close."


class Verdict(NamedTuple):
    """A code, and why it is refused; `unlike` where it is only unlike the others: known keys are not."""

    code: str
    reason: str = ""
    unlike: bool = False


@dataclass(frozen=True)
class Judge:
    """Decides which codes are keys, by themselves and by comparison with the others."""

    norm: Norm
    any_shape: bool = False
    encoding: str = "utf-8"

    def verdicts(self, cell: str) -> list[Verdict]:
        """Judge what a cell holds."""
        if len(cell) > LONGEST_LINE:
            return [refused(cell, f"It has more than {LONGEST_LINE:,} characters.")]
        if REPLACEMENT in cell:
            return [refused(cell, f"It is not valid {self.encoding}; save the file as UTF-8.")]
        if not cell.isascii() and not self.any_shape and slips.is_listed(cell.strip()):
            return [refused(cell, slips.LISTED)]  # before NFKC makes a plain digit of a circled one
        return [self._verdict(code) for code in codes_in(cell)]

    def _verdict(self, code: str) -> Verdict:
        if not code:
            return Verdict("", NO_KEY)
        noticed = slips.noticed(code)
        if not codes.is_well_formed(code):
            return refused(code, noticed or codes.refusal(code) or "")
        if self.any_shape:
            return Verdict(code)
        if noticed := noticed or self.norm.notice(code):
            return refused(code, noticed)
        if unlike := self.norm.unlike(code):
            return Verdict(code, unlike, unlike=True)
        return Verdict(code)


def candidates(cell: str) -> list[str]:
    """Give the codes of a cell that count when the keys' shapes are compared."""
    if len(cell) > LONGEST_LINE or REPLACEMENT in cell:
        return []
    if not cell.isascii() and slips.is_listed(cell.strip()):
        return []
    in_cell = codes_in(cell)
    return [code for code in in_cell if codes.is_well_formed(code) and not slips.noticed(code)]


def refused(code: str, reason: str) -> Verdict:
    """Refuse what cannot be a key; no more is kept of it than can be, and than tells it."""
    shown = code[:LONGEST_SHOWN].replace("\0", "\N{SYMBOL FOR NULL}")
    return Verdict(shown.encode(errors="replace").decode(), reason)
