"""`keypool sessions`: the browsers in which users of the console are signed in."""

from typing import TYPE_CHECKING, Any

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.tenancy import sessions

if TYPE_CHECKING:
    from worker.database.paging import Page

SESSIONS = printing.table(lambda: sessions.SessionShape)


@click.group("sessions", cls=Group)
def command() -> None:
    """Sessions: the browsers in which users of the console are signed in."""


@command.command("list", cls=ListCommand, filters=lambda: sessions.Filters, shows=SESSIONS)
def listing(**arguments: Any) -> "Page[sessions.SessionShape]":
    """List the sessions that go on, newest first."""
    return run(sessions.listing, actor=operator(), **arguments)


@command.command()
@click.argument("session", metavar="ID")
def end(session: str) -> "sessions.SessionShape":
    """End a session at once."""
    return run(sessions.end, actor=operator(), ended=session)
