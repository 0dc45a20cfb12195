"""Reading schema "report" into pandas, with the analyst's login or a report's own.

Large reads use ADBC, which passes Arrow to pandas; without its driver, psycopg does the same more
slowly. Both open a new connection each time, and only read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import make_url

from worker import errors
from worker.database import connections
from worker.settings import settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Query = str | sql.Composed

# The queries that are asked while somebody listens; see `listening`.
_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Note the queries that are asked meanwhile, each once."""
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def frame(query: Query) -> "pd.DataFrame":
    """Read rows as a DataFrame: numerics as Decimal, days and instants as datetime64; it keeps its query.

    Raises:
        DatabaseAwayError: the database cannot be reached.
        ExtraMissingError: pandas is not installed.
    """
    read = _frame(query)
    read.attrs["query"] = _text(query)
    return read


def _frame(query: Query) -> "pd.DataFrame":
    with errors.of_extra("notebooks"):
        import pandas as pd

    try:
        table = arrow(query)
    except ImportError:
        return _with_psycopg(query)
    read: pd.DataFrame = table.to_pandas(date_as_object=False)
    for name in _numerics(table):
        texts = table.column(name).combine_chunks().storage
        read[name] = pd.Series(
            [None if v is None else Decimal(v) for v in texts.to_pylist()], dtype=object
        )
    return read


def figures(query: Query) -> "pd.DataFrame":
    """Read one row of figures, to be shown large; no row if there is no data yet."""
    read = frame(query)
    read.attrs["figures"] = True
    return read


def arrow(query: Query) -> "pa.Table":
    """Read rows as an Arrow table, numerics as text.

    Raises:
        ImportError: there is no ADBC driver for this machine.
        DatabaseAwayError: the database cannot be reached.
    """
    import adbc_driver_postgresql.dbapi as adbc

    try:
        connection = adbc.connect(address())
    except adbc.Error:
        raise errors.DatabaseAwayError from None
    with connection, connection.cursor() as cursor:
        cursor.execute(_text(query))
        table: pa.Table = cursor.fetch_arrow_table()
        return table


def row(query: Query) -> dict[str, Any]:
    """Read one row; empty if there is none.

    Raises:
        DatabaseAwayError: the database cannot be reached.
    """
    rows = _rows(query)
    return rows[0] if rows else {}


def address() -> str:
    """Give the login's connection string for libpq."""
    options = {
        "timezone": "UTC",
        **connections.READS,
        "work_mem": "64MB",  # a report sorts and joins much, and few run at once
        "keypool.clock_offset": str(settings().clock_offset.total_seconds()),
    }
    url = make_url(connections.url(connections.Login.ANALYST)).set(drivername="postgresql")
    flags = " ".join(f"-c {name}={value}" for name, value in options.items())
    plain = url.render_as_string(hide_password=False)
    return f"{plain}{'&' if url.query else '?'}options={quote(flags)}"


def _numerics(table: "pa.Table") -> list[str]:
    # ADBC has no type for numeric: it gives text with the type's name as metadata.
    return [
        column.name for column in table.schema if getattr(column.type, "type_name", "") == "numeric"
    ]


def _with_psycopg(query: Query) -> "pd.DataFrame":
    import pandas as pd

    with _connect() as connection:
        cursor = connection.execute(_text(query).encode())
        names = [column.name for column in cursor.description or []]
        read = pd.DataFrame(cursor.fetchall(), columns=names)
        for column in cursor.description or []:
            if column.type_display == "date":
                read[column.name] = pd.to_datetime(read[column.name])
    return read


def _rows(query: Query) -> list[dict[str, Any]]:
    with _connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_text(query).encode()).fetchall()


def _connect() -> psycopg.Connection:
    try:
        return psycopg.connect(address())
    except psycopg.OperationalError:
        raise errors.DatabaseAwayError from None


def _text(query: Query) -> str:
    asked = query if isinstance(query, str) else query.as_string(None)
    heard = _heard.get()
    if heard is not None and asked not in heard:
        heard.append(asked)
    return asked
