"""`make scale`: what reports ask of the lake, asked of DuckDB and of Spark on a cluster of two workers.

It simulates a history on servers of its own, writes its lake, and prints a line for each question. It
ends with 1 if a figure differs.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks.reports import asked
from tests.scale import cluster
from tests.scale.comparing import Compared, difference
from worker import simulation
from worker.database import connections
from worker.demo import scratch
from worker.reporting import keeping
from worker.reporting.lake import answering, building

COLUMNS = ("question", "rows", "same", "DuckDB, s", "Spark, s")
LABELLED = "UPDATE key SET labels = '{north,south}' WHERE id % 3 = 0"
# Both engines are asked at one instant.
STANDS = """
    DO $$ BEGIN EXECUTE format(
        'CREATE OR REPLACE FUNCTION clock_now() RETURNS timestamptz
         LANGUAGE sql STABLE PARALLEL SAFE RETURN %L::timestamptz', clock_now()); END $$"""


def main() -> None:
    """Ask both engines; the status is 1 if a figure differs, or Java is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--redemptions", type=int, default=2000)
    parser.add_argument("--java", action="store_true", help="only look whether Java is there")
    given = parser.parse_args()
    if (reason := cluster.refusal()) or given.java:
        sys.exit(reason)
    with scratch.system() as home:
        prepare(given.redemptions)
        compared = list(compare(home))
    Console(width=None if sys.stdout.isatty() else 140).print(table(compared))
    sys.exit(any(one.differs for one in compared))


def prepare(redemptions: int) -> None:
    """Have half a year of three organizations and its lake."""
    connections.transaction(
        simulation.simulate, organizations=3, months=6, redemptions=redemptions, seed=3
    )
    simulation.bill()
    for statement in (LABELLED, STANDS):
        connections.transaction(lambda session, run: session.execute(text(run)), run=statement)
    building.build()


def compare(home: Path) -> Iterator[Compared]:
    """Ask each question of DuckDB, those of the lake of Spark too."""
    from worker.reporting.lake import spark

    asking = {query: figure for name in keeping.OURS for figure, query in asked(name)}
    ours = {query: timed(query) for query in asking}
    with cluster.running(home) as session, spark.answers(session):
        for query, figure in asking.items():
            answer, seconds = ours[query]
            if answer is not None:
                theirs, others = timed(query)
                differs = difference(query, answer, theirs)
                yield Compared(figure, answer.num_rows, seconds, others, differs)


def timed(query: str) -> tuple[pa.Table | None, float]:
    """Give an answer of the lake, if it has one, and the seconds that it took."""
    begun = time.perf_counter()
    return answering.answer(query), time.perf_counter() - begun


def table(compared: list[Compared]) -> Table:
    """Show what was compared."""
    shown = Table(
        *COLUMNS, caption=f"{sum(not one.differs for one in compared)} of {len(compared)}"
    )
    for one in compared:
        shown.add_row(
            one.question,
            f"{one.rows:,}",
            one.differs or "yes",
            f"{one.ours:.3f}",
            f"{one.theirs:.1f}",
        )
    return shown


if __name__ == "__main__":
    main()
