"""People in a report's page: found by marked table cells, and erased (D1).

A table marks the cells that name a person, and its CSV has the same columns: see
`worker.reporting.showing`.
"""

import base64
import csv
import html
import io
import re

COLUMNS = ("email", "name")  # columns that name a person, in a frame with e-mail addresses
MARK = "person"

ROW = re.compile(r"<tr>(?:(?!</tr>).)*</tr>", re.DOTALL)
CELL = re.compile(rf'(<td class="{MARK}[^"]*">)([^<]*)(</td>)')
CSV_PREFIX = "data:text/csv;charset=utf-8;base64,"  # the prefix of a table's CSV in the page
TABLE = re.compile(f"({CSV_PREFIX})([A-Za-z0-9+/=]+)")


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
        is_address = html.unescape(cell[2]).lower() == email.lower()
        return cell[1] + (shown(pseudonym) if is_address else "") + cell[3]

    return CELL.sub(replaced, row)


def _csv(encoded: str, email: str, pseudonym: str) -> str:
    read = io.StringIO(base64.b64decode(encoded).decode(), newline="")
    header, *rows = csv.reader(read)
    places = {name: header.index(name) for name in COLUMNS if name in header}
    if "email" not in places:
        return encoded
    for row in rows:
        if row[places["email"]].lstrip("'").lower() == email.lower():
            for name, place in places.items():
                row[place] = pseudonym if name == "email" else ""
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows([header, *rows])
    return base64.b64encode(written.getvalue().encode()).decode()
