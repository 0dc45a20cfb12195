"""The dictionary of schema "report": what a row of each view is, and what each column means.

The words are the comments in schema.sql, read from the database itself.
"""

from collections.abc import Iterator
from itertools import groupby

from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

COLUMNS = text("""
    SELECT relname AS view, attname AS column, format_type(atttypid, atttypmod) AS type,
           coalesce(col_description(attrelid, attnum), '') AS comment
      FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
     WHERE relnamespace = 'report'::regnamespace AND relkind = 'v' AND attnum > 0
     ORDER BY relname, attnum
""")
VIEWS = text("""
    SELECT relname AS view, coalesce(obj_description(oid, 'pg_class'), '') AS about FROM pg_class
     WHERE relnamespace = 'report'::regnamespace AND relkind = 'v' ORDER BY relname
""")

HEAD = """# Schema report

What analysts read: one row of each view, and each of its columns. Views are joined by their ids: a column
`pool_id` is the same in every view that has it. How to read them: [reports.md](reports.md#for-analysts).

`keypool reports dictionary --markdown` writes this page from the comments in [schema.sql](../schema.sql).
"""


class ColumnShape(TypedDict):
    """A column of a view of schema `report`."""

    view: str
    """The view's name in schema `report`."""
    column: str
    """The column's name."""
    type: str
    """Its type in PostgreSQL."""
    comment: str
    """What it means."""


def listing(session: Session) -> list[ColumnShape]:
    """List the columns of all views of schema `report`, view by view."""
    return [
        {"view": row.view, "column": row.column, "type": row.type, "comment": row.comment}
        for row in session.execute(COLUMNS)
    ]


def views(session: Session) -> dict[str, str]:
    """Give for each view of schema `report` what one row of it is."""
    return {row.view: row.about for row in session.execute(VIEWS)}


def markdown(session: Session) -> str:
    """Write the dictionary as a page of the documentation."""
    about = views(session)
    lines = [HEAD]
    for view, columns in groupby(listing(session), lambda column: column["view"]):
        lines += [f"## report.{view}", "", about[view], "", *_table(columns), ""]
    return "\n".join(lines)


def _table(columns: Iterator[ColumnShape]) -> Iterator[str]:
    yield "| column | type | means |"
    yield "|---|---|---|"
    for each in columns:
        yield f"| `{each['column']}` | {each['type']} | {each['comment']} |"
