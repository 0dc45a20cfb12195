"""`keypool bulk-acts`: acts on many rows of a list, with each row's result."""

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.files import Written, deliver, written
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker.bulk import bulk_acts
    from worker.database import connections

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

ACTS = printing.table(
    lambda: bulk_acts.BulkActShape,
    "id",
    "act",
    "state",
    "requested",
    "done",
    "refused",
    "actor",
    "created_at",
)
ROWS = printing.table(lambda: bulk_acts.BulkActRowShape)


@click.group("bulk-acts", cls=Group)
def command() -> None:
    """Bulk acts: what was done to many rows of a list at once."""


@command.command("list", cls=ListCommand, filters=lambda: bulk_acts.Filters, shows=ACTS)
def listing(
    filters: "bulk_acts.Filters", **page: "Unpack[Paging]"
) -> "Page[bulk_acts.BulkActShape]":
    """List acts on many rows, newest first."""
    return run(bulk_acts.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("act", metavar="ID")
def show(act: str) -> "bulk_acts.BulkActShape":
    """Show an act on many rows and its progress."""
    return run(bulk_acts.show, actor=operator(), act=act)


@command.command()
@click.argument("act", metavar="ID")
def cancel(act: str) -> "bulk_acts.BulkActShape":
    """Cancel an act: what was done stays done."""
    return run(bulk_acts.cancel, actor=operator(), act=act)


def _reported(result: "Written | Page[bulk_acts.BulkActRowShape]") -> None:
    written(result) if isinstance(result, dict) else ROWS(result)


@command.command(shows=_reported)
@click.argument("act", metavar="ID")
@click.option("--refused", is_flag=True, help="Only the rows that were refused.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write every row to a file, not just the first thousand.",
)
def report(
    act: str, refused: bool, output: Path | None
) -> "Written | Page[bulk_acts.BulkActRowShape] | None":
    """Show what became of an act's rows."""
    if output is None:
        return run(bulk_acts.rows, actor=operator(), act=act, refused=refused, limit=1000)
    with system(), connections.session(snapshot=True) as session:
        blocks = bulk_acts.report_csv(session, actor=operator(), act=act)
        return deliver(blocks, name="report.csv", output=output)
