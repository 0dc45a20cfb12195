"""A cell's content as the text that a person sees in it."""

import re
from datetime import date, datetime, time, timedelta

from worker.database.cells import bare
from worker.pools import codes

Cell = int | float | str | bool | time | date | datetime | timedelta

EXACT = 10**15  # a spreadsheet keeps 15 digits of a number, and zeros for the rest

# A formula that keeps leading zeros in spreadsheets: ="0012".
QUOTED = re.compile('"(?:[^"]|"")*"')
SEPARATORS = re.compile(r"[,;\s]+")
SEPARATORS_BUT_SPACES = re.compile("[,;\t\r\n]+")
AS_TEXT = re.compile('="([^"]*)"')


def shown(cell: Cell) -> str:
    """Give a spreadsheet's cell as text: whole numbers without a point, dates as ISO 8601."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, int | float):
        return number(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    return str(cell)


def number(value: float) -> str:
    """Give a number; one that a spreadsheet has rounded as such (`1.23456789012346E+15`)."""
    if abs(value) >= EXACT:
        return f"{value:.14E}"
    return str(int(value)) if value == int(value) else repr(value)


def codes_in(cell: str) -> list[str]:
    """Give a cell's codes, as they are stored: several if each part is a whole key, else one."""
    code = unguarded(unquoted(cell))
    if not code.isalnum():
        for separator in (SEPARATORS, SEPARATORS_BUT_SPACES):
            parts = [
                codes.supplied(unquoted(part)) for part in separator.split(code) if part.strip()
            ]
            if len(parts) == 1 or (parts and _are_keys(parts)):
                return parts
    return [codes.supplied(code)]


def unquoted(cell: str) -> str:
    """Give a cell without the quotation marks around it."""
    bare = cell.strip()
    return bare[1:-1].replace('""', '"').strip() if QUOTED.fullmatch(bare) else bare


def _are_keys(parts: list[str]) -> bool:
    """Say whether each part is a whole key; a word without a digit beside others that have is none."""
    digits = {codes.DIGIT.search(part) is not None for part in parts}
    return len(digits) == 1 and all(map(codes.is_well_formed, parts))


def unguarded(text: str) -> str:
    """Give a cell of a text file without the guard against formulas that keypool writes."""
    match = AS_TEXT.fullmatch(text)
    return match[1] if match else bare(text)
