"""`keypool history`: who did what to which thing, and when."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.files import Written, deliver, written
from worker.cli.frame import Group, deferred, wants_json
from worker.cli.lists import ChoosingCommand, ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker.database import connections, paging
    from worker.tenancy import history

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

ACTS = printing.table(lambda: history.Act, without=("id",))


@click.group("history", cls=Group)
def command() -> None:
    """History: who did what to which thing, and when; append-only."""


@command.command("list", cls=ListCommand, filters=lambda: history.Filters, shows=ACTS)
def listing(filters: "history.Filters", **page: "Unpack[Paging]") -> "Page[history.Act]":
    """List acts, newest first."""
    return run(history.listing, actor=operator(), filters=filters, **page)


@command.command(cls=ChoosingCommand, filters=lambda: history.Filters, shows=written)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it."
)
def export(
    output: Path | None, filters: "history.Filters"
) -> "Written | paging.Page[dict[str, str]] | None":
    """Write the history as CSV, oldest first, to standard output or a file."""
    with system(), connections.session(snapshot=True) as session:
        blocks = history.export(session, actor=operator(), filters=filters)
        if output is None and wants_json():
            lines = io.StringIO(b"".join(blocks).decode())
            return paging.Page(list(csv.DictReader(lines)), None)
        return deliver(blocks, name="history.csv", output=output)
