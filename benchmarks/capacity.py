"""`python -m benchmarks.capacity`: bytes a row, WAL a redemption, and what so many keys take up.

A history of `--redemptions` is simulated in a database of its own, vacuumed and measured. Larger systems
are extrapolated: so many rows of each table a key, so many bytes a row.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from benchmarks import shop
from benchmarks.frame import Rig, plain, seconds
from worker import logs, simulation
from worker.audit import auditing
from worker.database import connections
from worker.machine import embedded
from worker.redemption import settling

SIZES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
A_DAY = 10_000_000  # redemptions
LIVE = 5_000  # redemptions whose WAL is measured
SEED = 7

WIDTHS = """
    SELECT relname, n_live_tup, pg_table_size(relid), pg_indexes_size(relid)
      FROM pg_stat_user_tables WHERE schemaname = 'public' AND n_live_tup > 0
     ORDER BY pg_total_relation_size(relid) DESC"""
POOLS = "SELECT count(*) FROM key GROUP BY pool_id"


@dataclass(frozen=True)
class Width:
    """A table as it was measured: rows, and bytes of its heap (TOAST too) and of its indexes."""

    table: str
    rows: int
    heap: int
    indexes: int

    def bytes_of(self, keys: int, *, measured: int) -> float:
        """Say what it takes up beside so many keys, where `measured` keys were there when it was measured."""
        return (self.heap + self.indexes) * keys / measured


def keys_of(widths: Sequence[Width]) -> int:
    """Say how many keys were measured."""
    return next(width.rows for width in widths if width.table == "key")


def total(widths: Sequence[Width], keys: int) -> float:
    """Give the bytes of a system with so many keys, as large a share of them redeemed as was measured."""
    return sum(width.bytes_of(keys, measured=keys_of(widths)) for width in widths)


def for_keys_alone(widths: Sequence[Width], keys: int) -> float:
    """Give the bytes of so many keys that nobody redeemed yet."""
    return next(w for w in widths if w.table == "key").bytes_of(keys, measured=keys_of(widths))


def a_redemption(widths: Sequence[Width]) -> float:
    """Give the bytes that one redemption adds: its rows in all tables but the keys'."""
    rows = next(width.rows for width in widths if width.table == "redemption")
    return sum(width.heap + width.indexes for width in widths if width.table != "key") / rows


def measure(redemptions: int) -> tuple[list[Width], str]:
    """Simulate a history, and give its tables and a sentence on its audit."""
    connections.transaction(
        simulation.simulate, organizations=20, months=12, redemptions=redemptions, seed=SEED
    )
    simulation.bill()
    with psycopg.connect(plain(), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        widths = [Width(*row) for row in connection.execute(WIDTHS)]
        largest = max(row[0] for row in connection.execute(POOLS))
    took = seconds(lambda: connections.transaction(auditing.audit))
    return widths, f"An audit took {took:,.0f} s; the largest pool has {largest:,} keys."


def wal_a_redemption() -> dict[str, float]:
    """Give the bytes of WAL of recording a redemption and of settling it, without full pages."""
    with psycopg.connect(plain(), autocommit=True) as connection:
        shop.stocked(LIVE)  # so that the indexes are there
        return {
            "recorded, and its key made": _written(connection, lambda: shop.recorded(LIVE)),
            "settled": _written(connection, settling.settle_all),
        }


def _written(connection: psycopg.Connection, work: Callable[[], object]) -> float:
    at = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"
    begun = connection.execute(at).fetchone()
    work()
    ended = connection.execute(at).fetchone()
    return float(ended[0] - begun[0]) / LIVE if begun and ended else 0.0


def said(widths: list[Width], wal: dict[str, float]) -> str:
    """Give the tables of docs/scale.md."""
    rows = [
        f"| `{w.table}` | {w.rows:,} | {w.heap / w.rows:,.0f} | {w.indexes / w.rows:,.0f} |"
        for w in widths
        if w.heap + w.indexes > 1 << 20
    ]
    sizes = [
        f"| {keys:,} | {_size(for_keys_alone(widths, keys))} | {_size(total(widths, keys))} |"
        for keys in SIZES
    ]
    redemption = a_redemption(widths)
    return "\n".join([
        "| table | rows | heap, bytes a row | indexes, bytes a row |", "|---|---|---|---|", *rows, "",
        "| keys | keys alone | with their redemptions |", "|---|---|---|", *sizes, "",
        f"A redemption takes {redemption:,.0f} bytes; {A_DAY:,} a day are {_size(redemption * A_DAY)}.",
        *(f"WAL of a redemption, {what}: {size:,.0f} bytes." for what, size in wal.items()),
    ])  # fmt: skip


def _size(size: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:,.3g} {unit}"
    return f"{size / 1000:,.3g} TB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--redemptions", type=int, default=1_000_000)
    given = parser.parse_args()
    logs.configure(ours=logging.WARNING, others=logging.WARNING)
    with embedded.scratch() as servers:
        rig = Rig(servers)
        with rig.database(shop.opened):
            wal = wal_a_redemption()
        with rig.database():
            widths, audited = measure(given.redemptions)
    sys.stdout.write(f"{said(widths, wal)}\n{audited}\n")


if __name__ == "__main__":
    main()
