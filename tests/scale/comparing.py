"""Whether two engines gave the same figures."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlglot
from sqlglot import exp

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Compared:
    """A question with its rows, how long each engine took, and what differs: nothing, or the first of it."""

    question: str
    rows: int
    ours: float  # seconds of DuckDB
    theirs: float  # seconds of Spark
    differs: str = ""


def difference(query: str, ours: pa.Table, theirs: pa.Table | None) -> str:
    """Say what differs first, if anything does: amounts are compared as decimals, no figure is rounded.

    Rows count in their order if the query asks for one.
    """
    if theirs is None:
        return "Spark has no answer"
    if ours.column_names != theirs.column_names:
        return f"columns: {ours.column_names}, {theirs.column_names}"
    if ours.num_rows != theirs.num_rows:
        return f"rows: {ours.num_rows:,}, {theirs.num_rows:,}"
    for one, other in zip(_rows(query, ours), _rows(query, theirs), strict=True):
        if one != other:
            return f"{one}, {other}"
    return ""


def _rows(query: str, table: pa.Table) -> Rows:
    rows = [tuple(row.values()) for row in table.to_pylist()]
    is_ordered = sqlglot.parse_one(query, read="postgres").find(exp.Order, bfs=True) is not None
    return rows if is_ordered else sorted(rows, key=repr)
