"""Labels: a few words each that a key carries, for filters, exports and reports (K12).

In a cell they are separated by commas, semicolons or the like; a label is compared as it is written.
"""

import re
from collections.abc import Iterable, Sequence

from worker import errors
from worker.languages.characters import visible

MOST, LONGEST = 10, 50  # labels of a key, characters of a label
SEPARATORS = re.compile("[,;|、\t\r\n]+")
JOINED = ", "


def split(*cells: str) -> list[str]:
    """Give the labels that stand in some cells, as they are kept: each once, in their order."""
    parts = (part for cell in cells for part in SEPARATORS.split(visible(cell)))
    return list(dict.fromkeys(filter(None, (" ".join(part.split()) for part in parts))))


def refusal(labels: Sequence[str]) -> str | None:
    """Say why labels cannot be a key's, in a sentence; None where they can."""
    if len(labels) > MOST:
        return f"It has {len(labels)} labels; a key has up to {MOST}."
    for label in labels:
        if len(label) > LONGEST:
            return f"The label “{label[:LONGEST]}…” is longer than {LONGEST} characters."
        if not label.isprintable() or "\N{REPLACEMENT CHARACTER}" in label:
            return "A label has a character that cannot be printed."
    return None


def checked(given: Iterable[str]) -> tuple[str, ...]:
    """Read labels that somebody gives beside keys.

    Raises:
        InvalidInputError: there are too many, or one is too long.
    """
    labels = split(*given)
    if reason := refusal(labels):
        raise errors.InvalidInputError(reason, field="labels")
    return tuple(labels)


def joined(labels: Iterable[str]) -> str:
    """Write labels into one cell."""
    return JOINED.join(labels)


def copied(labels: Iterable[str] | None) -> bytes:
    """Write labels as a column of COPY: an array, or null."""
    if not labels:
        return rb"\N"
    quoted = ('"' + re.sub(r'(["\\])', r"\\\1", label) + '"' for label in labels)
    return f"{{{','.join(quoted)}}}".replace("\\", "\\\\").encode()
