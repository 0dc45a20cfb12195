"""The tables of a report's page: what stands behind each, as CSV, and all of them as one workbook.

They are read from the page itself, which has each as a link, so that who was erased from it is in none of them.
"""

import base64
import csv
import html
import io
import re
from dataclasses import dataclass

from worker.reporting import personal

PARTS = re.compile(
    rf'<h[1-3][^>]*>(?P<heading>.*?)</h[1-3]>|href="{personal.CSV_PREFIX}(?P<data>[^"]+)"',
    re.DOTALL,
)
MARKUP = re.compile(r"<[^<>]+>")
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?")
LONGEST = 31  # characters of a sheet's name
FORBIDDEN = str.maketrans(dict.fromkeys("[]:*?/\\'", " "))
LIMITS = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}


@dataclass(frozen=True)
class Table:
    """A table of a page: the heading above it, and its rows as CSV, all of them."""

    title: str
    csv: bytes


def tables(page: str) -> list[Table]:
    """Give the tables of a page, in its order."""
    found, title = [], "Table"
    for part in PARTS.finditer(page):
        if part["data"]:
            found.append(Table(title, base64.b64decode(part["data"])))
        else:
            title = html.unescape(MARKUP.sub("", part["heading"])).strip("¶ \n") or title
    return found


def workbook(page: str) -> bytes:
    """Give the tables of a page as one xlsx, a sheet for each; nothing in it is a formula."""
    from xlsxwriter import Workbook  # here, because it delays a start by a tenth of a second

    written = io.BytesIO()
    book, names = Workbook(written, LIMITS), set[str]()
    for table in tables(page):
        sheet = book.add_worksheet(_free(table.title, names))
        for number, row in enumerate(csv.reader(io.StringIO(table.csv.decode(), newline=""))):
            for place, value in enumerate(row):
                if number and NUMBER.fullmatch(value):
                    sheet.write_number(number, place, float(value))
                else:
                    sheet.write_string(number, place, value)
    if not names:
        book.add_worksheet("No table")
    book.close()
    return written.getvalue()


def _free(title: str, taken: set[str]) -> str:
    """Give a sheet's name that is as the title, and no other's; it is added to those that are taken."""
    plain, number = " ".join(title.translate(FORBIDDEN).split()) or "Table", 1
    name = plain[:LONGEST]
    while name.lower() in taken:
        number += 1
        ending = f" {number}"
        name = plain[: LONGEST - len(ending)] + ending
    taken.add(name.lower())
    return name
