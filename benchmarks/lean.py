"""The lean limit's tables: the same facts, and of all that guards them only the unique keys.

What a job costs beyond the lean limit is the price of its rules: triggers, checks, foreign keys, and
the indexes that are there for readers.
"""

import psycopg
from psycopg import sql

COPIED = """
    CREATE TABLE lean.{table}
        (LIKE public.{table} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING IDENTITY)"""
KEYS = """
    SELECT replace(pg_get_indexdef(indexrelid), ' ON public.', ' ON lean.') FROM pg_index
     WHERE indrelid = %s::regclass AND indisunique"""
# A generated column is a fact only where it is part of a unique key.
NEEDLESS = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = %(table)s::regclass AND attgenerated <> '' AND NOT EXISTS (
           SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND attnum = ANY (indkey))"""
COLUMNS = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
     ORDER BY attnum"""
ROWS = "INSERT INTO lean.{table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM public.{table}"
NEXT_ID = """
    SELECT setval(pg_get_serial_sequence('lean.' || attrelid::regclass, attname),
                  nextval(pg_get_serial_sequence(attrelid::regclass::text, attname)))
      FROM pg_attribute WHERE attrelid = %s::regclass AND attidentity <> ''"""


def copied(connection: psycopg.Connection, *tables: str) -> None:
    """Copy tables with their rows and unique keys, and nothing else, into schema `lean`."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS lean")
    for table in tables:
        _run(connection, COPIED, table)
        for (column,) in connection.execute(NEEDLESS, {"table": table}).fetchall():
            _run(connection, "ALTER TABLE lean.{table} DROP COLUMN {columns}", table, [column])
        for (key,) in connection.execute(KEYS, [table]).fetchall():
            connection.execute(key)
        columns = [name for (name,) in connection.execute(COLUMNS, [table]).fetchall()]
        _run(connection, ROWS, table, columns)
        connection.execute(NEXT_ID, [table])
        _run(connection, "ANALYZE lean.{table}", table)
    connection.commit()


def _run(
    connection: psycopg.Connection, statement: str, table: str, columns: list[str] | None = None
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns or []))
    text = sql.SQL(statement).format(table=sql.Identifier(table), columns=names)  # type: ignore[arg-type]  # constants of this module
    connection.execute(text)
