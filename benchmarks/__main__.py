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
    redemption,
    reports,
    start,
)

COLUMNS = ("benchmark", "n", "ours", "limit", "peer", "of the limit", "of the peer", "memory")


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
    Console(width=None if sys.stdout.isatty() else 140).print(table(frame.kept()))


def table(results: list[frame.Result]) -> Table:
    """Show results as a table for people."""
    shown = Table(*COLUMNS)
    shown.columns[0].no_wrap = True
    for result in results:
        shown.add_row(
            result.name,
            f"{result.n:,}",
            *(_rate(rate, result.unit) for rate in (result.ours, result.limit, result.peer)),
            *(_ratio(ratio) for ratio in (result.ratio_to_limit, result.ratio_to_peer)),
            f"{result.peak_memory_mb:,.0f} MB" if result.peak_memory_mb else "",
        )
        for note, figure in result.notes.items():
            shown.add_row(f"  {note}: {figure:g}", *[""] * (len(COLUMNS) - 1))
    return shown


def _rate(rate: float | None, unit: str) -> str:
    return "" if rate is None else f"{rate:,.0f} {unit}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} ×"


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
