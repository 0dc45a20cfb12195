"""`keypool messages`: mails in the organizations' names."""

from typing import TYPE_CHECKING, Any

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker import tasks
    from worker.database import connections
    from worker.outgoing import messages

if TYPE_CHECKING:
    from worker.database.paging import Page

MESSAGES = printing.table(
    lambda: messages.MessageShape,
    "id",
    "happened_at",
    "kind",
    "organization",
    "recipient",
    "state",
    "attempts",
    "due_at",
    "error",
)


@click.group("messages", cls=Group)
def command() -> None:
    """Messages: mails in the organizations' names, each to one person."""


@command.command("list", cls=ListCommand, filters=lambda: messages.Filters, shows=MESSAGES)
def listing(**arguments: Any) -> "Page[messages.MessageShape]":
    """List mails, newest first."""
    return run(messages.listing, actor=operator(), **arguments)


@command.command(shows=printing.letter)
@click.argument("message", metavar="ID")
def show(message: str) -> "messages.MessageShown":
    """Show a mail with what it says."""
    return run(messages.show, actor=operator(), message=message)


@command.command()
@click.argument("message", metavar="ID")
def resend(message: str) -> "messages.MessageShape":
    """Send a mail again, to the same address."""
    with system():
        resent = connections.transaction(messages.resend, actor=operator(), message=message)
        tasks.nudge("mail")
    return resent
