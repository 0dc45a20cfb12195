"""Reports: how long a notebook takes, whether old history makes it dearer, and reads into pandas."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import adbc_driver_postgresql.dbapi  # noqa: F401  # what a child imports is not measured
import pandas as pd
import psycopg
from sqlalchemy import text

from benchmarks.frame import Child, Rig, Round, benchmark, in_a_process, plain, seconds
from worker import reporting, simulation
from worker.database import connections
from worker.database.connections import Login
from worker.reporting import keeping, reading

ORGANIZATIONS = 20
YEARS = 10  # of history; reports are about the last
NOTEBOOK = "BENCHMARK_NOTEBOOK"

LAST_YEAR = text(
    "SELECT count(*) FROM redemption WHERE received_at >= clock_now() - interval '365 days'"
)

DETAIL = """
    SELECT id, kind, organization, learner_organization, course, pool, assignment_id, amount,
           currency, occurred_at, day, service_month, unbilled
      FROM report.charge LIMIT {count}"""


def history(redemptions: int, years: int) -> Callable[[], None]:
    """Give what fills a database with so many redemptions in so many years, invoiced."""

    def fill() -> None:
        connections.transaction(
            simulation.simulate,
            organizations=ORGANIZATIONS,
            months=12 * years,
            redemptions=redemptions,
            seed=1,
        )
        simulation.bill()

    fill.__qualname__ = f"history_{redemptions}_{years}"
    return fill


# ------------------------------------------------------------------------------------- reports.run


@benchmark("reports.run", unit="redemptions/s", n=10_000_000)
def running(rig: Rig, count: int) -> Round:
    """The slowest notebook about the last of ten years; the limit is the same on an empty database.

    The notes have each notebook's seconds, and how much dearer all of them are with ten years of
    history than with the last year alone.
    """
    with rig.filled(history(count, YEARS)):
        with connections.session() as session:
            lately = session.execute(LAST_YEAR).scalar_one()
        long = {name: _ran(name) for name in keeping.OURS}
    with rig.filled(history(lately, 1)):
        short = {name: _ran(name) for name in keeping.OURS}
    slowest = max(long, key=lambda name: long[name].seconds)
    with rig.database():
        bare = _ran(slowest)
    dearer = {name: long[name].seconds / short[name].seconds for name in long}
    return Round(
        ours=count / long[slowest].seconds,
        limit=count / bare.seconds,
        peak_memory_mb=max(ran.memory_mb for ran in long.values()),
        notes={
            **{f"seconds for {name}": ran.seconds for name, ran in long.items()},
            **{f"times as dear with ten years, {name}": times for name, times in dearer.items()},
            "redemptions in the year reported": lately,
        },
    )


def run_one() -> None:
    """Run the notebook that the environment names."""
    with tempfile.TemporaryDirectory() as folder:
        reporting.run(os.environ[NOTEBOOK], output=Path(folder) / "report.html")


def _ran(notebook: str) -> Child:
    os.environ[NOTEBOOK] = notebook
    return in_a_process("benchmarks.reports:run_one")


# ------------------------------------------------------------------------------------ reports.read


@benchmark("reports.read", unit="rows/s", n=1_000_000)
def reading_details(rig: Rig, count: int) -> Round:
    """Detail rows into pandas: ours, bare COPY off the wire, and pandas.read_sql by SQLAlchemy."""
    query = DETAIL.format(count=count)
    with rig.filled(history(count + count // 4, 1)):
        limit = seconds(lambda: _copied(query))
        ours = in_a_process_with(query, "benchmarks.reports:read_ours")
        peer = in_a_process_with(query, "benchmarks.reports:read_peers")
    return Round(
        ours=count / ours.seconds,
        limit=count / limit,
        peer=count / peer.seconds,
        peak_memory_mb=ours.memory_mb,
        notes={"the peer's memory in MB": peer.memory_mb},
    )


QUERY = "BENCHMARK_QUERY"


def in_a_process_with(query: str, work: str) -> Child:
    """Run a reading function in a process of its own."""
    os.environ[QUERY] = query
    return in_a_process(work)


def read_ours() -> None:
    """Read as notebooks do."""
    reading.frame(os.environ[QUERY])


def read_peers() -> None:
    """Read as most people do."""
    with connections.engine(Login.ANALYST).connect() as connection:
        pd.read_sql(text(os.environ[QUERY]), connection)


def _copied(query: str) -> None:
    wanted = f"COPY ({query}) TO STDOUT (FORMAT binary)"
    with psycopg.connect(plain()) as connection, connection.cursor().copy(wanted) as copied:
        for _ in copied:
            pass
