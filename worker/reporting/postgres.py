"""The way to the tables: rows of PostgreSQL as Arrow by ADBC, or one by one by psycopg; only to read.

ADBC asks a new connection for every type and column that the database has, which takes longer than most
questions. So a thread keeps its connection; each question reads a snapshot of its own.
"""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


ENDED = ("08", "57P")  # how a SQLSTATE begins where the connection is gone
UNTOLD = "08000"  # where nobody told why


class _Kept(threading.local):
    connection: "adbc.Connection | None" = None
    address = ""


_kept = _Kept()


def table(query: Query) -> "pa.Table":
    """Read rows as an Arrow table, numerics as text, by the connection that the thread keeps.

    Raises:
        ImportError: there is no ADBC driver for this machine.
        DatabaseAwayError: the database cannot be reached.
    """
    import adbc_driver_postgresql.dbapi as adbc

    known = _kept.connection
    try:
        return _read(_connection(), text(query))
    except adbc.Error as error:
        is_over = (error.sqlstate or UNTOLD).startswith(ENDED)
        if _kept.connection is not known or not is_over:
            raise
        # It ended since the question before: a new one is asked, once.
        _close()
        return _read(_connection(), text(query))


def _connection() -> "adbc.Connection":
    asked = address()
    if _kept.connection is None or _kept.address != asked:
        _close()
        _kept.connection, _kept.address = _connected(Login.ANALYST), asked
    return _kept.connection


@atexit.register
def _close() -> None:
    if _kept.connection is not None:
        with suppress(_kept.connection.Error):
            _kept.connection.close()
        _kept.connection = None


def _read(connection: "adbc.Connection", asked: str) -> "pa.Table":
    try:
        with connection.cursor() as cursor:
            cursor.execute(asked)
            read: pa.Table = cursor.fetch_arrow_table()
    except BaseException:
        with suppress(connection.Error):
            connection.rollback()
        raise
    connection.rollback()  # the next question reads a snapshot of its own
    return read


@contextmanager
def snapshot(login: Login = Login.ANALYST) -> Iterator["adbc.Cursor"]:
    """Open a connection of its own, all of whose statements read one snapshot.

    Raises:
        ImportError: there is no ADBC driver for this machine.
        DatabaseAwayError: the database cannot be reached.
    """
    with _connected(login) as connection, connection.cursor() as cursor:
        yield cursor


def _connected(login: Login) -> "adbc.Connection":
    import adbc_driver_postgresql.dbapi as adbc

    try:
        return adbc.connect(address(login))
    except adbc.Error:
        raise errors.DatabaseAwayError from None


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
