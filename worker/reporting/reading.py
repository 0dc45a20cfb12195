"""Reading schema "report" into pandas, with the analyst's login or a report's own.

Large reads use ADBC, which passes Arrow to pandas; without its driver, psycopg does the same more
slowly. Both open a new connection each time, and only read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from worker import errors
from worker.reporting import postgres
from worker.reporting.postgres import Query

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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
    read.attrs["query"] = postgres.text(query)
    return read


def _frame(query: Query) -> "pd.DataFrame":
    with errors.of_extra("notebooks"):
        import pandas as pd

    try:
        table = arrow(query)
    except ImportError:
        return _with_psycopg(query)
    read: pd.DataFrame = table.to_pandas(date_as_object=False)
    for name in postgres.numerics(table):
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
    return postgres.table(_text(query))


def row(query: Query) -> dict[str, Any]:
    """Read one row; empty if there is none.

    Raises:
        DatabaseAwayError: the database cannot be reached.
    """
    rows = postgres.rows(_text(query))
    return rows[0] if rows else {}


def _with_psycopg(query: Query) -> "pd.DataFrame":
    import pandas as pd

    with postgres.connect() as connection:
        cursor = connection.execute(_text(query).encode())
        names = [column.name for column in cursor.description or []]
        read = pd.DataFrame(cursor.fetchall(), columns=names)
        for column in cursor.description or []:
            if column.type_display == "date":
                read[column.name] = pd.to_datetime(read[column.name])
    return read


def _text(query: Query) -> str:
    asked = postgres.text(query)
    heard = _heard.get()
    if heard is not None and asked not in heard:
        heard.append(asked)
    return asked
