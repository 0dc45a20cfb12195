"""People in a report's page: found by marked table cells, and erased (D1).

A table marks the cells that name a person, and its CSV has the same columns: see
`worker.reporting.showing`.
"""

import base64
import csv
import html
import io
import re
from collections.abc import Collection, Hashable

ADDRESSES = ("email", "recipient")  # columns that have e-mail addresses
# Columns that name a person, in a frame with addresses: a name goes with the address of its row.
COLUMNS = (*ADDRESSES, "name", "recipient_name")
MARK = "person"

ROW = re.compile(r"<tr>(?:(?!</tr>).)*</tr>", re.DOTALL)
CELL = re.compile(rf'(<td class="{MARK}[^"]*">)([^<]*)(</td>)')
CSV_PREFIX = "data:text/csv;charset=utf-8;base64,"  # the prefix of a table's CSV in the page
TABLE = re.compile(f"({CSV_PREFIX})([A-Za-z0-9+/=]+)")


def named(columns: Collection[Hashable]) -> tuple[str, ...]:
    """Give the columns of a table that name people: those of a table that has addresses."""
    return COLUMNS if any(name in columns for name in ADDRESSES) else ()


def names_people(page: str) -> bool:
    """Say whether a page names people."""
    return CELL.search(page) is not None


def shown(text: str) -> str:
    """Give a text as it is escaped in a page."""
    return html.escape(text)


def erased(page: str, *, email: str, pseudonym: str) -> str:
    """Replace an address by a pseudonym, and the name beside it by nothing."""
    page = ROW.sub(lambda row: _without(row[0], email, pseudonym), page)
    return TABLE.sub(lambda match: match[1] + _csv(match[2], email, pseudonym), page)


def _without(row: str, email: str, pseudonym: str) -> str:
    named = [html.unescape(cell[2]).lower() for cell in CELL.finditer(row)]
    if email.lower() not in named:
        return row

    def replaced(cell: re.Match[str]) -> str:
        return cell[1] + shown(_anew(html.unescape(cell[2]), email, pseudonym)) + cell[3]

    return CELL.sub(replaced, row)


def _anew(cell: str, email: str, pseudonym: str) -> str:
    """Give the pseudonym for the address, another's address as it is, and nothing for a name."""
    if cell.lower().lstrip("'") == email.lower():
        return pseudonym
    return cell if "@" in cell else ""


def _csv(encoded: str, email: str, pseudonym: str) -> str:
    read = io.StringIO(base64.b64decode(encoded).decode(), newline="")
    header, *rows = csv.reader(read)
    places = {name: header.index(name) for name in COLUMNS if name in header}
    addresses = [place for name, place in places.items() if name in ADDRESSES]
    for row in rows:
        if email.lower() in (row[place].lstrip("'").lower() for place in addresses):
            for place in places.values():
                row[place] = _anew(row[place], email, pseudonym)
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows([header, *rows])
    return base64.b64encode(written.getvalue().encode()).decode()
