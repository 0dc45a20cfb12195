"""Reports: how long a notebook takes, whether old history makes it dearer, and reads into pandas."""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import adbc_driver_postgresql.dbapi  # noqa: F401  # what a child imports is not measured
import pandas as pd
import psycopg
from pyarrow import parquet
from sqlalchemy import text

from benchmarks.frame import (
    Child,
    Rig,
    Round,
    benchmark,
    in_a_process,
    memory_mb,
    plain,
    psql,
    seconds,
)
from worker import reporting, simulation
from worker.database import connections
from worker.database.connections import Login
from worker.demo import scratch
from worker.reporting import keeping, reading, rendering
from worker.reporting.lake import building, places

ORGANIZATIONS = 20
YEARS = 10  # of history; reports are about the last
FACTS = 6  # of one redemption, about: event, attempt, assignment, launches, charge, deferral, handing out
NOTEBOOK = "BENCHMARK_NOTEBOOK"
QUERY = "BENCHMARK_QUERY"

LAST_YEAR = text(
    "SELECT count(*) FROM redemption WHERE received_at >= clock_now() - interval '365 days'"
)

DETAIL = """
    SELECT id, kind, organization, learner_organization, course, pool, assignment_id, amount,
           currency, occurred_at, day, service_month, unbilled
      FROM report.charge LIMIT {count}"""


def history(redemptions: int, years: float) -> Callable[[], None]:
    """Give what fills a database with so many redemptions in so many years, invoiced."""

    def fill() -> None:
        connections.transaction(
            simulation.simulate,
            organizations=ORGANIZATIONS,
            months=round(12 * years),
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

    The notes have each notebook's seconds from the tables and from the lake, how many times as fast its
    questions are from the lake, and how much dearer all of them are with ten years of history than with the
    last year alone.
    """
    with rig.filled(history(count, YEARS)):
        with connections.session() as session:
            lately = session.execute(LAST_YEAR).scalar_one()
        long = {name: _ran(name) for name in keeping.OURS}
        lake = _from_the_lake()
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
            **lake,
            "redemptions in the year reported": lately,
        },
    )


def _from_the_lake() -> dict[str, float]:
    """Run each notebook, and ask its questions, with a lake; and ask them without."""
    questions = {name: [query for _, query in asked(name)] for name in keeping.OURS}
    tables = {name: _answered(queries) for name, queries in questions.items()}
    with built_lake():
        ran = {name: _ran(name) for name in keeping.OURS}
        files = {name: _answered(queries) for name, queries in questions.items()}
    return {
        **{f"seconds from the lake for {name}": one.seconds for name, one in ran.items()},
        **{f"MB from the lake for {name}": one.memory_mb for name, one in ran.items()},
        **{f"times as fast from the lake, {name}": tables[name] / files[name] for name in files},
    }


def run_one() -> None:
    """Run the notebook that the environment names."""
    with tempfile.TemporaryDirectory() as folder:
        reporting.run(os.environ[NOTEBOOK], output=Path(folder) / "report.html")


def _ran(notebook: str) -> Child:
    os.environ[NOTEBOOK] = notebook
    return in_a_process("benchmarks.reports:run_one")


def asked(notebook: str) -> Iterator[tuple[str, str]]:
    """Give the questions of a notebook, each with the figure that asks it."""
    question = reporting.ask()
    source = rendering.NOTEBOOKS.joinpath(f"{notebook}.py").read_text()
    for figure in re.findall(r"reporting\.(\w+)\(question", source):
        with reading.listening() as heard:
            getattr(reporting, figure)(question)
        yield from ((f"{notebook}.{figure}", query) for query in heard)


def _answered(questions: list[str]) -> float:
    os.environ[QUERY] = json.dumps(questions)
    return in_a_process("benchmarks.reports:ask_all").seconds


def ask_all() -> None:
    """Ask the questions that the environment has."""
    for question in json.loads(os.environ[QUERY]):
        reading.frame(question)


# -------------------------------------------------------------------------------------- lake.build


@benchmark("lake.build", unit="facts/s", n=1_000_000)
def writing(rig: Rig, count: int) -> Round:
    """The largest month into Parquet; the limit is a bare COPY of redemptions, which are some of its facts."""
    with rig.filled(history(2 * count // FACTS, 1 / 6)), connections.session() as session:
        redemptions = session.execute(LAST_YEAR).scalar_one()
        with built_lake() as took:
            facts, spent = max((_facts(month), spent) for month, spent in took.items())
        limit = seconds(lambda: _copied("SELECT * FROM redemption"))
    return Round(
        ours=facts / spent,
        limit=redemptions / limit,
        peak_memory_mb=memory_mb(),
        notes={"facts of the month": facts, "seconds for them": spent},
    )


@contextmanager
def built_lake() -> Iterator[dict[int, float]]:
    """Have a lake of the database; give the seconds that each of its months took, by their place."""
    took: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        scratch.environment({"KEYPOOL_LAKE": f"{folder}/lake"}),
    ):
        for table in ("lake_change", "lake_month", "lake_pool", "lake_labels", "lake"):
            psql(f"DELETE FROM {table}")  # noqa: S608  # another round's
        building.build(advance=lambda *_: took.append(time.perf_counter()))
        yield dict(enumerate(after - before for before, after in pairwise(took)))


def _facts(month: int) -> int:
    """Count the facts of a month of the lake, by its place among them."""
    place = places.ours()
    files = place.files.glob(f"{place.root}/*/organization=*/month=*/facts.parquet")
    name = sorted({file.split("/")[-2] for file in files})[month]
    return sum(
        parquet.read_metadata(file).num_rows for file in files if file.split("/")[-2] == name
    )


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
