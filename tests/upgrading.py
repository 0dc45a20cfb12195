"""The first release's database, as one of its users left it: every migration is tried on it."""

import re
from collections import Counter
from pathlib import Path

from psycopg import Connection, sql
from sqlalchemy import Engine, make_url, text

from tests.conftest import connect
from worker.database import connections as databases
from worker.database import migrating, revisions

FIRST_RELEASE = Path(__file__).parent / "worker" / "database" / "first_release.copy"

# What its secrets were sealed with.
SECRET_KEY = "the first release's secret key, kept for its upgrade test"

# The lines of one table in the dump: how it is copied, and its rows.
TABLE = re.compile(r'^(COPY "(\w+)" \(.*\) FROM STDIN)\n((?:.*\n)*?)\\\.\n', re.MULTILINE)

# A table's name, and how many of its rows have which values.
Rows = dict[str, Counter[tuple[str | None, ...]]]

# Tables, each after those that it refers to.
IN_ORDER = """
WITH RECURSIVE reference AS (
    SELECT conrelid AS child, confrelid AS parent FROM pg_constraint
     WHERE contype = 'f' AND conrelid <> confrelid
), depth AS (
    SELECT oid AS child, 0 AS level FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    UNION
    SELECT reference.child, level + 1 FROM depth JOIN reference ON parent = depth.child
)
SELECT relname FROM depth JOIN pg_class ON oid = child GROUP BY relname ORDER BY max(level)
"""
IDENTITIES = """
SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
 WHERE attidentity <> '' AND relnamespace = 'public'::regnamespace
"""


def make_first_release(engine: Engine, *, up_to: str = "0001") -> None:
    """Make an empty database the first release's, with its rows, and bring it to a revision.

    With `up_to` the revision before a migration of yours, you can add what yours is about.
    """
    migrating.upgrade(engine, to="0001")
    with connect(address(engine)) as connection:
        load(connection)
    migrating.upgrade(engine, to=up_to)


def load(connection: Connection) -> None:
    """Load the dump into a database that the first migration made."""
    tables = {table: (copy, rows) for copy, table, rows in TABLE.findall(FIRST_RELEASE.read_text())}
    for (name,) in connection.execute(IN_ORDER).fetchall():
        if name in tables:
            _load_table(connection, name, *tables[name])
    for table, identity in connection.execute(IDENTITIES).fetchall():
        connection.execute(
            sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}").format(
                table, identity, sql.Identifier(identity), sql.SQL(table)
            )
        )


def _load_table(connection: Connection, name: str, copy: str, rows: str) -> None:
    # Its triggers would tally and tell again what is among the rows already.
    table = sql.Identifier(name)
    connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(table))
    connection.execute(sql.SQL("DELETE FROM {}").format(table))  # what the migration put there
    with connection.cursor().copy(copy) as into:
        into.write(rows)
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(table))


def rows_of(engine: Engine, columns: dict[str, list[str]]) -> Rows:
    """Give what some columns of each table hold, as text."""
    with connect(address(engine)) as connection:
        return {table: _rows(connection, table, names) for table, names in columns.items()}


def _rows(
    connection: Connection, table: str, columns: list[str]
) -> Counter[tuple[str | None, ...]]:
    listed = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c)) for c in columns)
    query = sql.SQL("SELECT {} FROM {}").format(listed, sql.Identifier(table))
    return Counter(connection.execute(query).fetchall())


def address(engine: Engine) -> str:
    """Give the address of an engine's database, password included."""
    return make_url(engine.url).render_as_string(hide_password=False)


def pretend(revision: str, *, oldest_code: str = "0001") -> None:
    """Let the settings' database say that it is at another revision, for the oldest code that is given."""
    with databases.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
        session.execute(
            text(f"COMMENT ON TABLE alembic_version IS '{revisions.NOTE}{oldest_code}'")
        )
