"""DuckDB in a fence: it opens files below some folders and nothing else, and no query can change that.

What an engine must do to answer from the lake is said here too: DuckDB does it, and Spark (lake.spark).
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from worker import errors
from worker.reporting.lake.places import Place

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlglot import exp

MEMORY = "400MB"
THREADS = 2
LIMITS = f"""
    SET TimeZone = 'UTC';
    SET memory_limit = '{MEMORY}';
    SET threads = {THREADS};
    SET preserve_insertion_order = false;
    SET parquet_metadata_cache = true;
    CREATE SCHEMA report"""
# gives_access of schema.sql.
ACCESS = "cancelled_at IS NULL AND moment < until"
# report.earned of schema.sql. A quotient is a float here, so half a cent is found with integers: in units of
# the fourth place.
EARNED = """
    CASE WHEN until < day THEN 0
         WHEN until >= earned_by THEN amount
         WHEN until < first_day THEN 0
         ELSE CASE WHEN amount < 0 THEN -1 ELSE 1 END * (
              (2 * (abs(amount) * 10000)::bigint * (date_diff('day', first_day, until) + 1)
               + days * (10 ** (4 - decimals))::bigint)
              // (2 * days * (10 ** (4 - decimals))::bigint) * (10 ** (4 - decimals))::bigint)::decimal(18, 0)
              * 0.0001 END"""
MACROS = f"""
    CREATE MACRO gives_access(cancelled_at, until, moment) AS {ACCESS};
    CREATE MACRO report.earned(amount, decimals, day, first_day, days, earned_by, until) AS {EARNED}"""
# In this order: folders can be named only before the rest is closed.
FENCE = """
    SET temp_directory = {scratch};
    SET allowed_directories = {folders};
    SET enable_external_access = false;
    SET lock_configuration = true"""


class Engine(Protocol):
    """What answers a query from the lake: it is given small tables, files and views of them by name."""

    def register(self, name: str, rows: "pa.Table") -> None:
        """Have rows as a table."""

    def files(self, place: Place, paths: list[str]) -> str:
        """Give what stands after FROM for the rows of files."""

    def view(self, name: str, select: str) -> None:
        """Have a view, or another by its name; `select` is DuckDB's SQL."""

    def answer(self, query: "exp.Expr") -> "pa.Table":
        """Run a query."""

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """What is raised by words or columns that the engine has not."""


class DuckDB:
    """The engine of a report's kernel."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Answer by a connection, which is in its fence."""
        self.connection = connection

    def register(self, name: str, rows: "pa.Table") -> None:
        """Have rows as a table."""
        self.connection.register(name, rows)

    def files(self, place: Place, paths: list[str]) -> str:  # local ones
        """Give what stands after FROM for the rows of files."""
        return f"read_parquet({paths}, hive_partitioning = false)"

    def view(self, name: str, select: str) -> None:
        """Have a view, or another by its name."""
        self.connection.execute(f"CREATE OR REPLACE VIEW {name} AS {select}")

    def answer(self, query: "exp.Expr") -> "pa.Table":
        """Run a query."""
        return self.connection.sql(query.sql(dialect="duckdb")).to_arrow_table()

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """What is raised by words or columns that DuckDB has not."""
        import duckdb

        return (duckdb.Error,)


def fenced(folders: Iterable[str]) -> "duckdb.DuckDBPyConnection":
    """Open an engine that reads files below these folders alone.

    It loads no extension, attaches no database and keeps its settings.

    Raises:
        ExtraMissingError: DuckDB is not installed.
    """
    with errors.of_extra("notebooks"):
        import duckdb

    engine = duckdb.connect()
    engine.execute(LIMITS)
    engine.execute(MACROS)
    scratch = str(Path(tempfile.gettempdir(), f"keypool-duckdb-{os.getpid()}"))
    listed = ", ".join(_quoted(f"{folder}/") for folder in folders)
    engine.execute(FENCE.format(scratch=_quoted(scratch), folders=f"[{listed}]"))
    return engine


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
