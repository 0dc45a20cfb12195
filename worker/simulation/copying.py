"""Bulk rows into tables by COPY, in slices, so that memory stays bounded."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy.orm import Session

from worker.errors import of_extra
from worker.simulation.seasons import Instants
from worker.simulation.world import Indexes

with of_extra("notebooks"):
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

SLICE = 100_000

Columns = Mapping[str, Any]

# A table's foreign keys and unique constraints, and its other indexes. Foreign keys come first,
# because they depend on the others. Primary keys stay: rows are copied in their order.
ASIDE = """
    SELECT 'CONSTRAINT', conname, conrelid::regclass::text,
           format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname,
                  pg_get_constraintdef(oid))
      FROM pg_constraint WHERE conrelid = ANY (%(tables)s::regclass[]) AND contype IN ('f', 'u')
    UNION ALL
    SELECT 'INDEX', relname, indrelid::regclass::text, pg_get_indexdef(indexrelid)
      FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
     WHERE indrelid = ANY (%(tables)s::regclass[])
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))
"""


class Copying:
    """Copies rows into tables in the session's transaction, and counts them."""

    def __init__(self, session: Session) -> None:
        connection = session.connection().connection.driver_connection
        self._cursor = cast(psycopg.Connection, connection).cursor()
        self.copied: dict[str, int] = {}

    @contextmanager
    def bare(self, *tables: str) -> Iterator[None]:
        """Drop the tables' foreign keys and indexes, and recreate them after the rows are copied.

        Checking a million rows at once takes seconds; one by one it takes minutes. Both happen in
        the session's transaction, so nobody sees the tables without them.
        """
        names = {"tables": [f'"{table}"' for table in tables]}
        aside = self._cursor.execute(ASIDE, names).fetchall()
        aside.sort(key=lambda thing: "FOREIGN KEY" not in thing[3])
        for kind, name, table, _ in aside:
            drop = f"ALTER TABLE {table} DROP CONSTRAINT" if kind == "CONSTRAINT" else "DROP INDEX"
            self._cursor.execute(sql.SQL(drop + " {}").format(sql.Identifier(name)))
        yield
        self._cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        for *_, definition in reversed(aside):
            self._cursor.execute(definition.encode())

    def reserve(self, table: str, number: int) -> int:
        """Reserve so many consecutive ids, and give the first.

        The table is locked against other writers until the transaction ends.
        """
        name = sql.Identifier(table)
        self._cursor.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(name))
        sequence = self._value("SELECT pg_get_serial_sequence(%s, 'id')", [f'"{table}"'])
        first = int(self._value("SELECT nextval(%s)", [sequence]))
        if number > 1:
            self._value("SELECT setval(%s, %s)", [sequence, first + number - 1])
        return first

    def rows(self, table: str, columns: Columns) -> None:
        """Copy whole columns: numpy arrays, Arrow arrays or lists."""
        self.slices(table, len(next(iter(columns.values()))), lambda _: columns)

    def slices(self, table: str, number: int, make: Callable[[slice], Columns]) -> None:
        """Copy so many rows; their columns are made slice by slice."""
        whole = number <= SLICE
        for begin in range(0, number, SLICE) if not whole else [0] * bool(number):
            columns = make(slice(begin, min(begin + SLICE, number)))
            self._copy(table, pa.table(dict(columns)))
        self.copied[table] = self.copied.get(table, 0) + number

    def _copy(self, table: str, rows: pa.Table) -> None:
        buffer = io.BytesIO()
        csv.write_csv(rows, buffer, csv.WriteOptions(include_header=False))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, rows.column_names))
        )
        with self._cursor.copy(statement) as copy:
            copy.write(buffer.getbuffer())

    def _value(self, statement: str, parameters: Sequence[object]) -> Any:
        (value,) = self._cursor.execute(statement.encode(), parameters).fetchall()[0]
        return value


def instants(values: Instants) -> pa.Array:
    """Convert instants to Arrow; NEVER becomes null."""
    whole = pa.array(values, pa.int64(), mask=np.asarray(values) < 0)
    return whole.cast(pa.timestamp("us", "UTC"))


def ids(first: int, indexes: Indexes) -> pa.Array:
    """Convert indexes to ids; NEVER becomes null."""
    return pa.array(indexes + first, mask=indexes < 0)


def chosen(words: Sequence[str | None], indexes: Indexes | NDArray[np.bool_]) -> pa.Array:
    """Give the word of each index."""
    return pc.take(pa.array(words, pa.string()), pa.array(np.asarray(indexes).astype(np.int64)))


def joined(*parts: Any) -> pa.Array:
    """Join texts row by row; a part may be one text for all rows."""
    whole = [pa.scalar(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*whole, "")


def texts(values: Indexes) -> pa.Array:
    """Convert whole numbers to text."""
    return pa.array(values).cast(pa.string())
