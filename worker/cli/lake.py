"""`keypool lake`: closed months of the reports' facts as Parquet files."""

from collections.abc import Iterator

import rich_click as click

from worker.cli import printing, progress
from worker.cli.frame import Group, deferred
from worker.cli.system import system

with deferred():
    from worker import reporting


@click.group("lake", cls=Group)
def command() -> None:
    """The lake: closed months of the reports' facts as Parquet files, without personal data."""


def _compared(result: "reporting.lake.checking.Checked") -> Iterator[str]:
    for one in result["differences"]:
        noted = ", which is noted and read from the tables" if one["noted"] else ""
        yield (
            f"{one['organization']}, {one['month']:%Y-%m}, {one['fact']}: {one['figure']} "
            f"{one['lake']} in the lake, {one['tables']} in the tables{noted}"
        )
    word = "agrees" if result["ok"] else "does not agree"
    yield f"The lake {word} with the tables: {result['facts']} facts in {result['months']} months."


@command.command()
def build() -> "reporting.lake.building.Built":
    """Write the closed months that the lake lacks or lost, and those in which something changed.

    The first time it begins a lake; from then on the worker keeps it.
    """
    with system(), progress.bar(100, "Months written, in percent") as done:
        reporting.lake.building.mend()
        return reporting.lake.building.build(advance=lambda some, of: done(100 * some // (of or 1)))


@command.command(shows=printing.sentences(_compared), failed=lambda result: not result["ok"])
def check() -> "reporting.lake.checking.Checked":
    """Compare the lake's counts and sums with the tables', and name what differs.

    The exit code is 1 if something does. A change that is noted does not count: reports read that
    month from the tables until the lake is built again.
    """
    with system(), progress.bar(100, "Months compared, in percent") as done:
        return reporting.lake.checking.check(advance=lambda some, of: done(100 * some // of))
