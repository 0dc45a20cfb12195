"""Reading counts: whole numbers from 1, with thousands separators of any language.

`1.000` is a thousand if points separate thousands, and one if they separate decimals. The file's other
numbers decide. If they do not, the count is refused.
"""

import re
import unicodedata
from collections.abc import Iterable

MOST = 10**9  # more is a slip of the finger
PLAIN = re.compile("[0-9]{1,12}")
GROUPED = re.compile(r"[0-9]{1,3}(?:([ '’.,\u00a0\u202f])[0-9]{3})(?:\1[0-9]{3})*")
NO_DECIMALS = re.compile("([0-9]{1,12})[.,]0{1,2}")  # of a spreadsheet's whole number

# A number that shows the decimal separator: not exactly three digits follow it.
POINTS = re.compile(
    r"[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,})|[0-9]{1,3}(?:,[0-9]{3}){2,}(?:\.[0-9]+)?|[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+"
)
COMMAS = re.compile(
    r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})|[0-9]{1,3}(?:\.[0-9]{3}){2,}(?:,[0-9]+)?|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+"
)
NUMBER = re.compile(r"(?<![\w.,])[0-9][0-9.,]*[0-9](?![\w.,])")


def decimal_sign(cells: Iterable[str], counts: Iterable[str] = ()) -> str | None:
    """Find the decimal separator of a file's numbers; None if they do not show it, or disagree.

    Among counts, which have no decimals, a sign with other than zeros behind it separates thousands.
    """
    signs = {sign for cell in cells for number in NUMBER.findall(cell) for sign in _signs(number)}
    for count in counts:
        match = GROUPED.fullmatch(count.strip())
        if match and match[1] in ".," and not count.strip().endswith("000"):
            signs.add("," if match[1] == "." else ".")
    return signs.pop() if len(signs) == 1 else None


def read(cell: str, decimals: str | None) -> int:
    """Read a count.

    Raises:
        ValueError: it is no count, or ambiguous; the message says which, in a sentence.
    """
    text = unicodedata.normalize("NFKC", cell).strip()
    if whole := NO_DECIMALS.fullmatch(text):
        text = whole[1]
    elif grouped := GROUPED.fullmatch(text):
        if grouped[1] in ".," and text.count(grouped[1]) == 1 and decimals is None:
            raise ValueError(
                f"“{cell[:20]}” is one number in some countries and another elsewhere; write it "
                f"without “{grouped[1]}”."
            )
        if grouped[1] == decimals:
            raise ValueError(not_a_count(cell))
        text = text.replace(grouped[1], "")
    if not PLAIN.fullmatch(text) or not 1 <= int(text) <= MOST:
        raise ValueError(not_a_count(cell))
    return int(text)


def not_a_count(cell: str) -> str:
    """Give the message for a cell that is no count."""
    return f"“{cell[:20]}” is not a count; give a whole number from 1."


def _signs(number: str) -> list[str]:
    return [sign for sign, pattern in ((".", POINTS), (",", COMMAS)) if pattern.fullmatch(number)]
