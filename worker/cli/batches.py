"""`keypool batches`: bulk jobs that add keys to pools."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing, tables, waiting
from worker.cli.files import Written, deliver, written
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker.database import connections
    from worker.pools import batches

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging
    from worker.pools.import_reports import ImportReport

BATCHES = printing.table(
    lambda: batches.BatchShape,
    "id",
    "pool",
    "kind",
    "requested",
    "made",
    "state",
    "created_at",
    "finished_at",
)


@click.group("batches", cls=Group)
def command() -> None:
    """Batches: bulk jobs that generate or import keys."""


@command.command("list", cls=ListCommand, filters=lambda: batches.Filters, shows=BATCHES)
def listing(filters: "batches.Filters", **page: "Unpack[Paging]") -> "Page[batches.BatchShape]":
    """List batches, newest first."""
    return run(batches.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("batch", metavar="ID")
def show(batch: str) -> "batches.BatchShape":
    """Show a batch and its progress."""
    return run(batches.show, actor=operator(), batch=batch)


@command.command(shows=printing.sentences(waiting.lines), failed=waiting.failed)
@click.argument("batch", metavar="ID")
def watch(batch: str) -> "batches.BatchShape":
    """Wait until a batch is finished, and show its progress."""
    with system():
        connections.transaction(batches.find, actor=operator(), batch=batch)
        return waiting.finish(batch)


@command.command()
@click.argument("batch", metavar="ID")
def cancel(batch: str) -> "batches.BatchShape":
    """Cancel a batch; keys that it made stay."""
    return run(batches.cancel, actor=operator(), batch=batch)


def _reported(result: "Written | ImportReport") -> None:
    written(result) if "file" in result else tables.show(result)


@command.command(shows=_reported)
@click.argument("batch", metavar="ID")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write every line to a file, not just the first that were refused.",
)
def report(batch: str, output: Path | None) -> "Written | ImportReport | None":
    """Show an import's report."""
    if output is None:
        return run(batches.report, actor=operator(), batch=batch)
    with system(), connections.session(snapshot=True) as session:
        blocks = batches.report_csv(session, actor=operator(), batch=batch)
        return deliver(blocks, name="report.csv", output=output)
