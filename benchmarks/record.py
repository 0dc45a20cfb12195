"""What is kept of measurements: the latest result of each benchmark, and a row of history a run."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
IN_HISTORY = ("n", "ours", "ratio_to_limit", "ratio_to_lean", "ratio_to_peer", "peak_memory_mb")


@dataclass(frozen=True)
class Result:
    """A benchmark's line in the table and in latest.json: rates, and medians of rounds.

    Attributes:
        limit: what PostgreSQL (or whatever bounds the job) gives by the shortest way.
        lean: the same facts in tables that keep only the unique keys, by hand-made SQL.
        peer: other software that does the same job.
        calibration_ms: the fixed loop's fastest, median and slowest time before and after the rounds.
    """

    name: str
    unit: str
    n: int
    ours: float
    limit: float | None = None
    lean: float | None = None
    peer: float | None = None
    ratio_to_limit: float | None = None
    ratio_to_lean: float | None = None
    ratio_to_peer: float | None = None
    peak_memory_mb: float | None = None
    notes: dict[str, float] = field(default_factory=dict)
    calibration_ms: dict[str, float] = field(default_factory=dict)
    made_at: str | None = None


@dataclass(frozen=True)
class Run:
    """One run of some benchmarks.

    Attributes:
        made_at: when it began, ISO 8601 in UTC.
        scale: times as many as usual.
    """

    made_at: str
    scale: float
    rounds: int


def kept() -> list[Result]:
    """Give the latest result of each benchmark."""
    latest = RESULTS / "latest.json"
    if not latest.exists():
        return []
    return [Result(**line) for line in json.loads(latest.read_text())["benchmarks"]]


def keep(result: Result, *, run: Run, order: Iterable[str]) -> None:
    """Keep a result in the place of the one by its name, the benchmarks in an order."""
    results = {line.name: line for line in kept()} | {result.name: result}
    names = dict.fromkeys([*order, *results])
    lines = [asdict(results[name]) for name in names if name in results]
    document = {"made_at": run.made_at, "scale": run.scale, "benchmarks": lines}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=2) + "\n")


def note(run: Run, results: list[Result], *, calibration_ms: dict[str, float]) -> None:
    """Add a run's row to the history, so that a step back is seen."""
    figures = {result.name: _figures(result) for result in results}
    row = asdict(run) | {"calibration_ms": calibration_ms, "benchmarks": figures}
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "history.jsonl").open("a") as history:
        history.write(json.dumps(row) + "\n")


def _figures(result: Result) -> dict[str, float]:
    known = asdict(result)
    return {name: known[name] for name in IN_HISTORY if known[name] is not None}
