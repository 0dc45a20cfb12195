"""DuckDB in a fence: it opens files below some folders and nothing else, and no query can change that."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from worker import errors

if TYPE_CHECKING:
    import duckdb

MEMORY = "400MB"
THREADS = 2
LIMITS = f"""
    SET TimeZone = 'UTC';
    SET memory_limit = '{MEMORY}';
    SET threads = {THREADS};
    SET preserve_insertion_order = false;
    CREATE SCHEMA report"""
# gives_access of schema.sql.
ACCESS = "CREATE MACRO gives_access(cancelled_at, until, moment) AS cancelled_at IS NULL AND moment < until"
# report.earned of schema.sql. A quotient is a float here, so half a cent is found with integers: in units of
# the fourth place.
EARNED = """
    CREATE MACRO report.earned(amount, decimals, day, first_day, days, earned_by, until) AS
    CASE WHEN until < day THEN 0
         WHEN until >= earned_by THEN amount
         WHEN until < first_day THEN 0
         ELSE sign(amount) * (
              (2 * (abs(amount) * 10000)::bigint * (until - first_day + 1)
               + days * (10 ** (4 - decimals))::bigint)
              // (2 * days * (10 ** (4 - decimals))::bigint) * (10 ** (4 - decimals))::bigint)::decimal(18, 0)
              * 0.0001 END"""
# In this order: folders can be named only before the rest is closed.
FENCE = """
    SET temp_directory = {scratch};
    SET allowed_directories = {folders};
    SET enable_external_access = false;
    SET lock_configuration = true"""


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
    engine.execute(ACCESS)
    engine.execute(EARNED)
    scratch = str(Path(tempfile.gettempdir(), f"keypool-duckdb-{os.getpid()}"))
    listed = ", ".join(_quoted(f"{folder}/") for folder in folders)
    engine.execute(FENCE.format(scratch=_quoted(scratch), folders=f"[{listed}]"))
    return engine


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
