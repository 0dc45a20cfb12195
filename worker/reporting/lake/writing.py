"""Writing one month's facts as Parquet, a file for each fact and organization, in constant memory."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

from psycopg import sql

from worker import errors
from worker.days import following_month
from worker.reporting import postgres
from worker.reporting.lake import facts
from worker.reporting.lake.facts import Fact
from worker.reporting.lake.places import Place

if TYPE_CHECKING:
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow as pa
    from pyarrow import parquet

GROUP = 250_000  # rows of a row group, and the most that wait to be written
DIGITS = 18
LABELS = "labels::text AS labels"

Number = Callable[[int, Sequence[str]], dict[str, int]]  # an organization's sets of labels


@dataclass
class Written:
    """An organization's month, written aside: the path and the rows of each fact, and the pools they name."""

    paths: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    pools: set[int] = field(default_factory=set)


def write(
    cursor: "adbc.Cursor",
    *,
    place: Place,
    month: date,
    only: Collection[int] | None,
    number: Number,
) -> dict[int, Written]:
    """Write a month of all organizations, or of some, and give what was written of each.

    `number` gives the numbers that stand for labels.

    Raises:
        ExtraMissingError: what writes Parquet is not installed.
    """
    made: dict[int, Written] = {}
    for fact in facts.ALL:
        cursor.execute(postgres.text(_query(fact, month, only)))
        file: _File | None = None
        for organization, rows in _by_organization(cursor.fetch_record_batch()):
            if file is None or file.organization != organization:
                _close(file, fact, made)
                file = _File(place, organization)
            file.add(_plain(rows, fact, organization, number))
        _close(file, fact, made)
    return made


class _File:
    """A file that is being written aside."""

    def __init__(self, place: Place, organization: int) -> None:
        import pyarrow as pa

        self.organization, self.path, self.rows = organization, place.aside(), 0
        self.pools: set[int] = set()
        self._files, self._waiting = place.files, list[pa.RecordBatch]()
        self._writer: parquet.ParquetWriter | None = None

    def add(self, rows: "pa.RecordBatch") -> None:
        self._waiting.append(rows)
        if "pool_id" in rows.schema.names:
            self.pools.update(rows["pool_id"].unique().drop_null().to_pylist())
        if sum(waiting.num_rows for waiting in self._waiting) >= GROUP:
            self._write()

    def close(self) -> None:
        self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        with errors.of_extra("notebooks"):
            import pyarrow as pa
            from pyarrow import parquet

        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting).combine_chunks()
        if self._writer is None:
            self._writer = parquet.ParquetWriter(
                self.path, table.schema, filesystem=self._files, compression="zstd"
            )
        self._writer.write_table(table, row_group_size=GROUP)
        self.rows += table.num_rows
        self._waiting = []


def _close(file: _File | None, fact: Fact, made: dict[int, Written]) -> None:
    if file is None:
        return
    file.close()
    written = made.setdefault(file.organization, Written())
    written.paths[fact.name], written.rows[fact.name] = file.path, file.rows
    written.pools |= file.pools


def _query(fact: Fact, month: date, only: Collection[int] | None) -> sql.Composed:
    some = "AND organization_id = ANY ({only})" if only is not None else ""
    return sql.SQL("SELECT {} {} {} ORDER BY organization_id, day").format(
        fact.selected(*[LABELS] * fact.has_labels),
        fact.rows(month, following_month(month)),
        sql.SQL(some).format(only=sql.Literal(sorted(only or ()))),
    )


def _by_organization(
    batches: "pa.RecordBatchReader",
) -> Iterator[tuple[int, "pa.RecordBatch"]]:
    """Split batches, ordered by organization, where another begins."""
    import numpy as np

    for batch in batches:
        ids = batch["organization_id"].to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
        for start, end in pairwise(starts):
            if end > start:
                yield int(ids[start]), batch.slice(start, end - start)


def _plain(
    rows: "pa.RecordBatch", fact: Fact, organization: int, number: Number
) -> "pa.RecordBatch":
    """Give exact decimals a type, and labels their number."""
    import pyarrow as pa

    for name in postgres.numerics(rows):
        exact = rows[name].storage.cast(pa.decimal128(DIGITS, fact.decimals[name]))
        rows = rows.set_column(rows.schema.get_field_index(name), name, exact)
    if "labels" in rows.schema.names:
        told = rows["labels"].dictionary_encode()
        numbers = number(organization, told.dictionary.to_pylist()) if len(told.dictionary) else {}
        ids = pa.array([numbers[text] for text in told.dictionary.to_pylist()], pa.int64())
        place = rows.schema.get_field_index("labels")
        rows = rows.set_column(place, "label_set", ids.take(told.indices))
    return rows
