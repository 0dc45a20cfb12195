"""`keypool history`: who did what to which thing, and when."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from worker.cli import printing
from worker.cli.files import Written, deliver, written
from worker.cli.frame import Group, deferred, ordered, paged, wants_json
from worker.cli.options import SINCE, UNTIL, together
from worker.cli.system import operator, run, system

with deferred():
    from worker.database import connections, paging
    from worker.tenancy import history

if TYPE_CHECKING:
    from worker.database.paging import Page

COLUMNS = ("at", "actor", "organization", "action", "thing", "thing_id", "detail")

chosen = together(
    click.option("--organization", metavar="ORG", help="What was done in one organization."),
    click.option("--thing", metavar="THING", help="Such as pool or assignment."),
    click.option("--id", "thing_id", type=click.IntRange(0, 2**63 - 1), help="The thing's id."),
    click.option("--action", metavar="ACTION", help="Such as paused."),
    click.option("--by", metavar="WHO", help="Who, as the list tells it."),
    click.option("--since", type=SINCE, metavar="TIME", help="At this time or later."),
    click.option(
        "--until", type=UNTIL, metavar="TIME", help="Before this time; a day is included."
    ),
)


@click.group("history", cls=Group)
def command() -> None:
    """History: who did what to which thing, and when; nothing in it is ever rewritten."""


@command.command("list", shows=printing.table(*COLUMNS))
@chosen
@ordered()
@paged
def listing(**given: Any) -> "Page[history.Act]":
    """List what was done, newest first."""
    return run(history.listing, actor=operator(), **given)


@command.command(shows=written)
@chosen
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it."
)
def export(output: Path | None, **given: Any) -> "Written | paging.Page[dict[str, str]] | None":
    """Write what was done as CSV, oldest first, to standard output or a file."""
    with system(), connections.session(snapshot=True) as session:
        blocks = history.export(session, actor=operator(), **given)
        if output is None and wants_json():
            lines = io.StringIO(b"".join(blocks).decode())
            return paging.Page(list(csv.DictReader(lines)), None)
        return deliver(blocks, name="history.csv", output=output)
