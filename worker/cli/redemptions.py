"""`keypool redemptions`: every attempt to spend a key, and what it came to."""

from typing import TYPE_CHECKING, Any

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred, ordered, paged
from worker.cli.options import SINCE, UNTIL
from worker.cli.system import operator, run

with deferred():
    from worker.redemption import attempts

if TYPE_CHECKING:
    from worker.database.paging import Page

COLUMNS = (
    "event", "received_at", "key", "pool", "learner", "organization", "outcome", "assignment"
)  # fmt: skip


@click.group("redemptions", cls=Group)
def command() -> None:
    """Redemptions: every attempt to spend a key, refused ones too."""


@command.command("list", shows=printing.table(*COLUMNS))
@click.option("--pool", metavar="POOL", help="Attempts on one pool's keys.")
@click.option("--outcome", metavar="OUTCOME", help="Such as redeemed or pool_expired.")
@click.option("--learner", metavar="EMAIL", help="One learner's attempts.")
@click.option("--since", type=SINCE, metavar="TIME", help="Received at this time or later.")
@click.option(
    "--until", type=UNTIL, metavar="TIME", help="Received before this time; a day is included."
)
@ordered()
@paged
def listing(**given: Any) -> "Page[attempts.RedemptionShape]":
    """List attempts, newest first."""
    return run(attempts.listing, actor=operator(), **given)
