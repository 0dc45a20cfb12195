"""`keypool redemptions`: every attempt to redeem a key, and its outcome."""

from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.redemption import attempts

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

REDEMPTIONS = printing.table(
    lambda: attempts.RedemptionShape,
    "event",
    "received_at",
    "key",
    "pool",
    "learner",
    "organization",
    "outcome",
    "assignment",
)


@click.group("redemptions", cls=Group)
def command() -> None:
    """Redemptions: every attempt to redeem a key, refused ones too."""


@command.command("list", cls=ListCommand, filters=lambda: attempts.Filters, shows=REDEMPTIONS)
def listing(
    filters: "attempts.Filters", **page: "Unpack[Paging]"
) -> "Page[attempts.RedemptionShape]":
    """List attempts, newest first."""
    return run(attempts.listing, actor=operator(), filters=filters, **page)
