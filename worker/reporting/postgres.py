"""The way to the tables: rows of PostgreSQL as Arrow by ADBC, or one by one by psycopg; only to read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import make_url

from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.settings import settings

if TYPE_CHECKING:
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow as pa

Query = str | sql.Composed


def table(query: Query) -> "pa.Table":
    """Read rows as an Arrow table, numerics as text.

    Raises:
        ImportError: there is no ADBC driver for this machine.
        DatabaseAwayError: the database cannot be reached.
    """
    with snapshot() as cursor:
        cursor.execute(text(query))
        read: pa.Table = cursor.fetch_arrow_table()
        return read


@contextmanager
def snapshot(login: Login = Login.ANALYST) -> Iterator["adbc.Cursor"]:
    """Open a connection of its own, all of whose statements read one snapshot.

    Raises:
        ImportError: there is no ADBC driver for this machine.
        DatabaseAwayError: the database cannot be reached.
    """
    import adbc_driver_postgresql.dbapi as adbc

    try:
        connection = adbc.connect(address(login))
    except adbc.Error:
        raise errors.DatabaseAwayError from None
    with connection, connection.cursor() as cursor:
        yield cursor


def rows(query: Query) -> list[dict[str, Any]]:
    """Read rows by their columns' names.

    Raises:
        DatabaseAwayError: the database cannot be reached.
    """
    with connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(text(query).encode()).fetchall()


def connect() -> psycopg.Connection:
    """Open a connection with the analyst's login.

    Raises:
        DatabaseAwayError: the database cannot be reached.
    """
    try:
        return psycopg.connect(address())
    except psycopg.OperationalError:
        raise errors.DatabaseAwayError from None


def address(login: Login = Login.ANALYST) -> str:
    """Give a login's connection string for libpq."""
    options = {
        "timezone": "UTC",
        **(
            connections.READS if login is Login.ANALYST else {"default_transaction_read_only": "on"}
        ),
        "default_transaction_isolation": r"repeatable\ read",
        "work_mem": "64MB",  # a report sorts and joins much, and few run at once
        "keypool.clock_offset": str(settings().clock_offset.total_seconds()),
    }
    url = make_url(connections.url(login)).set(drivername="postgresql")
    flags = " ".join(f"-c {name}={value}" for name, value in options.items())
    plain = url.render_as_string(hide_password=False)
    return f"{plain}{'&' if url.query else '?'}options={quote(flags)}"


def numerics(read: "pa.Table | pa.RecordBatch") -> list[str]:
    """Name the columns of type numeric: ADBC gives them as text, with the type's name as metadata."""
    return [
        column.name for column in read.schema if getattr(column.type, "type_name", "") == "numeric"
    ]


def text(query: Query) -> str:
    """Give a query's text."""
    return query if isinstance(query, str) else query.as_string(None)
