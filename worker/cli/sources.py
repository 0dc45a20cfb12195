"""`keypool sources`: external systems that may post webhooks."""

from datetime import timedelta
from typing import TYPE_CHECKING

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.options import old_valid
from worker.cli.system import operator, run

with deferred():
    from worker import requests
    from worker.redemption import sources

if TYPE_CHECKING:
    from typing import Unpack

    from worker.database.paging import Page, Paging

SOURCES = printing.table(lambda: sources.SourceShape)
REQUESTS = printing.table(
    lambda: requests.Request, "at", "status", "result", "message", "webhook_id"
)


@click.group("sources", cls=Group)
def command() -> None:
    """Sources: external systems that post signed webhooks for an organization."""


@command.command(shows=printing.secret)
@click.argument("name")
@click.option("--organization", required=True, metavar="ORG", help="Whose learners it speaks for.")
def add(name: str, organization: str) -> "sources.SourceInClear":
    """Add a source and print its signing secret, once."""
    return run(sources.add, actor=operator(), name=name, organization=organization)


@command.command(shows=printing.secret)
@click.argument("source")
@old_valid
def rotate(source: str, old_valid: timedelta) -> "sources.SourceInClear":
    """Give a source a new signing secret and print it, once."""
    return run(sources.rotate, actor=operator(), source=source, old_valid=old_valid)


@command.command()
@click.argument("source")
def show(source: str) -> "sources.SourceShape":
    """Show a source and the path it posts to."""
    return run(sources.show, actor=operator(), source=source)


@command.command("requests", shows=REQUESTS)
@click.argument("source")
def latest(source: str) -> "list[requests.Request]":
    """List the latest 200 requests of a source, refused ones with the reason."""
    return run(requests.of_source, actor=operator(), source=source)["requests"]


@command.command(
    "list",
    cls=ListCommand,
    filters=lambda: sources.Filters,
    shows=SOURCES,
)
def listing(filters: "sources.Filters", **page: "Unpack[Paging]") -> "Page[sources.SourceShape]":
    """List sources, and the paths they post to."""
    return run(sources.listing, actor=operator(), filters=filters, **page)
