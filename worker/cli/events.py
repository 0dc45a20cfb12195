"""`keypool events`: webhook messages and their outcomes."""

from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker import tasks
    from worker.database import connections
    from worker.redemption import inbox

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

EVENTS = printing.table(
    lambda: inbox.EventShape,
    "id",
    "received_at",
    "type",
    "source",
    "webhook_id",
    "status",
    "outcome",
    "assignment",
)


@click.group("events", cls=Group)
def command() -> None:
    """Events: the webhook messages received, each recorded once."""


@command.command("list", cls=ListCommand, filters=lambda: inbox.Filters, shows=EVENTS)
def listing(filters: "inbox.Filters", **page: "Unpack[Paging]") -> "Page[inbox.EventShape]":
    """List events, newest first."""
    return run(inbox.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("event", metavar="ID")
def show(event: str) -> "inbox.EventShape":
    """Show an event and its outcome."""
    return run(inbox.show, actor=operator(), event=event)


@command.command()
@click.argument("event", metavar="ID")
def retry(event: str) -> "inbox.EventShape":
    """Retry a failed event."""
    with system():
        retried = connections.transaction(inbox.retry, actor=operator(), event=event)
        tasks.nudge_settle()
    return retried
