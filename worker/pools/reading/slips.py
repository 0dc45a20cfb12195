"""Texts that are never keys: dates, decimals, items of numbered lists (K5a).

A spreadsheet turns codes into dates and numbers, and people paste lists with their numbering.
"""

import re
from functools import cache

from worker.pools import codes
from worker.pools.reading.words import plain, spellings

LISTED = "It begins with a list's numbering; leave that away."

# By their first three letters at least, and in full.
MONTHS = (
    "January, February, March, April, May, June, July, August, September, October, November, December,"
    " Januar, Februar, März, Mai, Juni, Juli, Oktober, Dezember, Jänner,"
    " janvier, février, mars, avril, mai, juin, juillet, août, septembre, octobre, novembre, décembre,"
    " enero, febrero, marzo, abril, mayo, junio, julio, agosto, septiembre, octubre, noviembre, diciembre,"
    " gennaio, febbraio, aprile, maggio, giugno, luglio, settembre, ottobre, dicembre,"
    " janeiro, fevereiro, março, maio, junho, julho, setembro, outubro, novembro, dezembro,"
    " januari, februari, maart, mei, augustus,"
    " stycznia, lutego, marca, kwietnia, maja, czerwca, lipca, sierpnia, września, października,"
    " listopada, grudnia"
)
ABBREVIATED = 3

DAY, YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20|21)\d\d"
MONTH = r"(?:0?[1-9]|1[0-2])"
SIGN = r"[-./ ]"
TIME = r"(?:[T, ]+\d{1,2}[:.]\d\d.*)?"
NUMERIC_DATE = re.compile(
    rf"(?:{YEAR}({SIGN}){MONTH}\1{DAY}|{DAY}({SIGN}){MONTH}\2{YEAR}|{MONTH}({SIGN}){DAY}\3{YEAR}"
    rf"|{YEAR}年{MONTH}月{DAY}日){TIME}"
)
DATE_WITH_A_WORD = re.compile(
    rf"(?:{DAY}[-. ]+([^\W\d_]{{3,12}})\.?,?[- ]+{YEAR}|([^\W\d_]{{3,12}})\.?[- ]+{DAY},?[- ]+{YEAR}"
    rf"|{YEAR}[- ]+([^\W\d_]{{3,12}})\.?[- ]+{DAY}){TIME}"
)
DECIMAL = re.compile(r"[-+]?\d+[.,]\d+|[-+]?\d+(?:[.,]\d+)?[eE][-+]\d+|[-+]?\d[.,]\d+[eE]\d+")
ROUNDED = re.compile(r".*\d[eE]\+?\d+")

CIRCLED = "\u2460-\u249b\u24ea-\u24ff\u2776-\u2793"  # NFKC turns the other ones into digits
BULLET = re.compile(
    f"[{CIRCLED}\u2022\u2023\u2043\u204c\u204d\u2219\u25a0-\u25ff\u2605\u2606\u2713-\u2716\u27a2\u27a4"
    r"\u00b7\u2192\u25b8*]\s*\S|[-\u2013\u2014]\s+\S"
)
NUMBERING = re.compile(
    r"[(\[]?(?:\d{1,9}|[A-Za-z]|[ivxIVX]{1,5})(?:[)\]]|[.:、]\s|[.)\]]{2})|[nN](?:o\.|r\.|[º°])\s*\d+\s|#\s*\d+\s"
)
NUMBERED = re.compile(r"(?!(?:19|20)\d\d\.)\d{1,5}\.(.+)")  # 2026. may well belong to a key


def noticed(code: str) -> str | None:
    """Say in a sentence why a code is never a key; None if there is no reason."""
    if code.isalnum() and code.isascii():
        return None
    if is_date(code):
        return "It is a date; where it is a key, a spreadsheet has turned it into one."
    if DECIMAL.fullmatch(code):
        if ROUNDED.fullmatch(code):
            return "It is a number that a spreadsheet has rounded; format the column as text."
        return "It is a decimal number; where it is a key, format the column as text."
    if is_listed(code):
        return LISTED
    return None


def is_date(code: str) -> bool:
    """Say whether a text is a date, with or without a time."""
    if NUMERIC_DATE.fullmatch(code):
        return True
    match = DATE_WITH_A_WORD.fullmatch(code)
    return match is not None and plain("".join(filter(None, match.groups()))) in _months()


def is_listed(code: str) -> bool:
    """Say whether a text begins with a list's numbering: `1.`, `2)`, `•`."""
    if BULLET.match(code) or NUMBERING.match(code):
        return True
    match = NUMBERED.fullmatch(code)
    return match is not None and "." not in match[1] and codes.is_well_formed(match[1])


@cache
def _months() -> frozenset[str]:
    months = spellings(MONTHS)
    return frozenset(months | {month[:ABBREVIATED] for month in months} | {"sept"})
