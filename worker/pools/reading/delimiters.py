"""Finding a table's delimiter: from Excel's `sep=` line, from a heading, or from most lines."""

import re
from collections import Counter

from worker.pools.reading.headings import known
from worker.pools.reading.read_as import ReadAs
from worker.pools.reading.records import Dialect

DELIMITERS = ";\t|,"
TOP = 10  # lines within which a heading is found
SAID = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


def said(line: str) -> str | None:
    """Give the delimiter in Excel's first line, `sep=;`."""
    match = SAID.fullmatch(line.strip("\r\n "))
    return match[1] if match else None


def delimiter(lines: list[str], read_as: ReadAs) -> str | None:
    """Tell the delimiter by lines that are not blank; None where each is one cell."""
    return _by_heading(lines, read_as) or _by_most_lines(lines)


def _by_heading(lines: list[str], read_as: ReadAs) -> str | None:
    best: tuple[int, str] | None = None
    for sign in DELIMITERS:
        dialect = Dialect(sign)
        for place, line in enumerate(lines[:TOP]):
            if sign not in line or not _in_most(sign, lines[place + 1 :]):
                continue
            number = known(dialect.parsed(line), read_as)
            if number and (best is None or number > best[0]):
                best = (number, sign)
    return best and best[1]


def _by_most_lines(lines: list[str]) -> str | None:
    """Give the character that most lines have, equally often; a title above them does not count."""
    rated = {sign: _rating(sign, _below_titles(sign, lines)) for sign in DELIMITERS}
    sign = max(DELIMITERS, key=lambda sign: rated[sign])
    return sign if rated[sign] > (0, 0) else None


def _below_titles(sign: str, lines: list[str]) -> list[str]:
    for place, line in enumerate(lines[: TOP - 1]):
        if sign in line:
            return lines[place:]
    return lines


def _rating(sign: str, lines: list[str]) -> tuple[float, int]:
    counted = Counter(line.count(sign) for line in lines)
    having = len(lines) - counted.pop(0, 0)
    if 2 * having <= len(lines):
        return (0, 0)
    return counted.most_common(1)[0][1] / len(lines), having


def _in_most(sign: str, lines: list[str]) -> bool:
    return 2 * sum(sign in line for line in lines) >= len(lines)
