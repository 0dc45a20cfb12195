"""Reports: how long a notebook takes, whether old history makes it dearer, and reads into pandas."""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import adbc_driver_postgresql.dbapi  # noqa: F401  # what a child imports is not measured
import pandas as pd
import psycopg
from pyarrow import parquet
from sqlalchemy import text

from benchmarks import notebook as notebooks
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
QUERY = "BENCHMARK_QUERY"
TOLD = "BENCHMARK_TOLD"  # the file for what a process tells
ENOUGH = 5  # times as fast from the lake as from the tables

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

    The notes have each notebook's seconds from the tables, and how much dearer all of them are with ten years
    of history than with the last year alone.
    """
    with rig.filled(history(count, YEARS)):
        lately = _lately()
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


# ------------------------------------------------------------------------------- reports.notebooks


@benchmark("reports.notebooks", unit="redemptions/s", n=10_000_000)
def running_from_the_lake(rig: Rig, count: int) -> Round:
    """The slowest notebook about the last of ten years, from the lake; the limit is on an empty database.

    The notes have each notebook's seconds, of which on a processor, and megabytes.
    """
    with rig.filled(history(count, YEARS)), built_lake():
        lately = _lately()
        ran = {name: _ran(name) for name in keeping.OURS}
    slowest = max(ran, key=lambda name: ran[name].seconds)
    with rig.database():
        bare = _ran(slowest)
    notes: dict[str, float] = {"redemptions in the year reported": lately}
    for name, one in ran.items():
        notes |= {
            f"seconds for {name}": one.seconds,
            f"seconds on a processor for {name}": one.busy,
            f"MB for {name}": one.memory_mb,
        }
    return Round(
        ours=count / ran[slowest].seconds,
        limit=count / bare.seconds,
        peak_memory_mb=max(one.memory_mb for one in ran.values()),
        notes=notes,
    )


def _lately() -> int:
    with connections.session() as session:
        return session.execute(LAST_YEAR).scalar_one()


# ------------------------------------------------------------------------------- reports.questions


@benchmark("reports.questions", unit="questions/s", n=10_000_000)
def asking(rig: Rig, count: int) -> Round:
    """What all notebooks ask about the last of ten years, from the lake; the peer is PostgreSQL alone.

    The notes have how many times as fast each notebook's questions are, and each that is not 5 times as fast.
    """
    with rig.filled(history(count, YEARS)), built_lake():
        questions = {query: figure for name in keeping.OURS for figure, query in asked(name)}
        taken = [_answered([*questions]) for _ in range(2)]
        with scratch.environment({"KEYPOOL_LAKE": os.devnull}):
            tables = _answered([*questions])
    # The second time: its processes, PostgreSQL's cache and the files are warm for both.
    files = taken[-1]
    shares: dict[str, list[float]] = {}
    notes: dict[str, float] = {}
    for figure, ours, theirs in zip(questions.values(), files, tables, strict=True):
        sums = shares.setdefault(figure.partition(".")[0], [0, 0])
        sums[0], sums[1] = sums[0] + ours, sums[1] + theirs
        if theirs < ENOUGH * ours:
            notes[f"  {figure}"] = theirs / ours
    return Round(
        ours=len(questions) / sum(files),
        peer=len(questions) / sum(tables),
        peak_memory_mb=memory_mb(),
        notes={
            **{f"times as fast, {name}": theirs / ours for name, (ours, theirs) in shares.items()},
            **notes,
        },
    )


def _ran(notebook: str) -> Child:
    os.environ[notebooks.NAME] = notebook
    return in_a_process("benchmarks.notebook:run_one")


def asked(notebook: str) -> Iterator[tuple[str, str]]:
    """Give the questions of a notebook, each with the figure that asks it."""
    question = reporting.ask()
    source = rendering.NOTEBOOKS.joinpath(f"{notebook}.py").read_text()
    for figure in re.findall(r"reporting\.(\w+)\(question", source):
        with reading.listening() as heard:
            getattr(reporting, figure)(question)
        yield from ((f"{notebook}.{figure}", query) for query in heard)


def _answered(questions: list[str]) -> list[float]:
    """Give the seconds of each question, asked in a process of its own."""
    os.environ[QUERY] = json.dumps(questions)
    with tempfile.NamedTemporaryFile() as told:
        os.environ[TOLD] = told.name
        in_a_process("benchmarks.reports:ask_all")
        read: list[float] = json.loads(Path(told.name).read_text())
        return read


def ask_all() -> None:
    """Ask the questions that the environment has, and tell the seconds of each."""
    taken = [seconds(partial(reading.frame, query)) for query in json.loads(os.environ[QUERY])]
    Path(os.environ[TOLD]).write_text(json.dumps(taken))


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
