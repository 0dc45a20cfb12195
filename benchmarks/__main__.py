"""`make bench`: runs the benchmarks, prints their table and keeps it in results/latest.json."""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import (  # noqa: F401  # all register
    api,
    assignments,
    console,
    database,
    frame,
    invoices,
    keys,
    painting,
    record,
    redemption,
    reports,
    start,
)

RATES = ("ours", "limit", "lean", "peer")
RATIOS = ("ratio_to_limit", "ratio_to_lean", "ratio_to_peer")
COLUMNS = ("benchmark", "n", *RATES, "of the limit", "of lean", "of the peer", "memory")


def main() -> None:
    """Run what is named on the command line, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(frame.BENCHMARKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1, help="times as many as usual")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in frame.BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]}; one of {', '.join(frame.BENCHMARKS)}")
    frame.run(given.names, rounds=given.rounds, scale=given.scale, tell=_tell)
    Console(width=None if sys.stdout.isatty() else 160).print(table(record.kept()))


def table(results: list[record.Result]) -> Table:
    """Show results as a table for people."""
    shown = Table(*COLUMNS)
    shown.columns[0].no_wrap = True
    for result in results:
        shown.add_row(
            f"{result.name}, {result.unit}",
            f"{result.n:,}",
            *(_rate(getattr(result, rate)) for rate in RATES),
            *(_ratio(getattr(result, ratio)) for ratio in RATIOS),
            f"{result.peak_memory_mb:,.0f} MB" if result.peak_memory_mb else "",
        )
        loops = {f"calibration, {name} ms": ms for name, ms in result.calibration_ms.items()}
        for note, figure in (result.notes | loops).items():
            shown.add_row(f"  {note}: {figure:g}", *[""] * (len(COLUMNS) - 1))
    return shown


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} ×"


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
