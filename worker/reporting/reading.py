"""Reading schema "report" into pandas, with the analyst's login or a report's own.

Closed months come from the lake, if there is one (`lake.answering`); all else from PostgreSQL. Large reads
use ADBC, which passes Arrow to pandas; without its driver, psycopg does the same more
slowly. Both only read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from worker import errors
from worker.reporting import postgres
from worker.reporting.lake import answering
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

    asked = _text(query)
    if (answered := answering.answer(asked)) is not None:
        return _of_the_lake(answered)
    try:
        table = postgres.table(asked)
    except ImportError:
        return _with_psycopg(asked)
    read: pd.DataFrame = table.to_pandas(date_as_object=False)
    for name in postgres.numerics(table):
        texts = table.column(name).combine_chunks().storage
        read[name] = pd.Series(
            [None if v is None else Decimal(v) for v in texts.to_pylist()], dtype=object
        )
    return read


def _of_the_lake(table: "pa.Table") -> "pd.DataFrame":
    """Give an answer of the lake PostgreSQL's types: a quotient, a float in DuckDB, is a Decimal."""
    import pandas as pd
    import pyarrow as pa

    read: pd.DataFrame = table.to_pandas(date_as_object=False)
    for column in table.schema:
        if pa.types.is_floating(column.type):
            shares = table.column(column.name).to_pylist()
            exact = [None if share is None else Decimal(repr(share)) for share in shares]
            read[column.name] = pd.Series(exact, dtype=object)
    return read


def figures(query: Query) -> "pd.DataFrame":
    """Read one row of figures, to be shown large; no row if there is no data yet."""
    read = frame(query)
    read.attrs["figures"] = True
    return read


def arrow(query: Query) -> "pa.Table":
    """Read rows of PostgreSQL as an Arrow table, numerics as text.

    Raises:
        ImportError: there is no ADBC driver for this machine.
        DatabaseAwayError: the database cannot be reached.
    """
    return postgres.table(_text(query))


def row(query: Query) -> dict[str, Any]:
    """Read one row, from the lake if there is one that has it; empty if there is none.

    Raises:
        DatabaseAwayError: the database cannot be reached.
    """
    asked = _text(query)
    answered = answering.answer(asked)
    rows = postgres.rows(asked) if answered is None else answered.slice(0, 1).to_pylist()
    return rows[0] if rows else {}


def _with_psycopg(asked: str) -> "pd.DataFrame":
    import pandas as pd

    with postgres.connect() as connection:
        cursor = connection.execute(asked.encode())
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
