"""`keypool assignments`: learners' access to courses."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred, paged
from worker.cli.system import operator, run, system

with deferred():
    from worker import assignments
    from worker import settings as environment

if TYPE_CHECKING:
    from worker.paging import Page

COLUMNS = (
    "id", "learner", "organization", "course", "key", "status", "redeemed_at", "expires_at",
    "launches",
)  # fmt: skip


@click.group("assignments", cls=Group)
def command() -> None:
    """Assignments: a learner's access to a course, got by one key."""


@command.command("list", shows=printing.table(*COLUMNS))
@click.option("--learner", metavar="EMAIL", help="One learner's.")
@click.option("--expiring-within", type=click.IntRange(0, 36500), metavar="DAYS", help="Soon over.")
@paged
def listing(expiring_within: int | None, **given: Any) -> "Page":
    """List assignments."""
    within = None if expiring_within is None else timedelta(days=expiring_within)
    return run(assignments.listing, actor=operator(), expiring_within=within, **given)


@command.command()
@click.argument("assignment", metavar="ID")
def show(assignment: str) -> dict[str, Any]:
    """Show an assignment with its launches and history."""
    return run(assignments.show, actor=operator(), assignment=assignment)


@command.command()
@click.argument("assignment", metavar="ID")
@click.option("--until", metavar="DATE", help="The last day of access, where the learner is.")
@click.option("--by", "by_days", type=int, metavar="DAYS", help="So many days later than now.")
@click.option("--price", metavar="AMOUNT", help="Charge the pool's owner; free by default.")
def extend(**given: Any) -> dict[str, Any]:
    """Let access end later; an expired assignment comes back to life."""
    return run(assignments.extend, actor=operator(), **given)


@command.command()
@click.argument("assignment", metavar="ID")
@click.option("--retire-key", is_flag=True, help="Do not issue the key again.")
@click.option("--reason", metavar="TEXT", help="Needed after 24 hours or a launch.")
def cancel(**given: Any) -> dict[str, Any]:
    """Cancel an assignment.

    Within 24 hours of redemption and before any launch, the charge is credited and the key can be
    redeemed again. Later nothing is credited and the key is retired.
    """
    return run(assignments.cancel, actor=operator(), **given)


@command.command(
    shows=printing.sentences(
        lambda done: [f"{printing.counted(done['expired'], 'assignment')} expired."]
    )
)
def expire() -> dict[str, int]:
    """Expire every overdue assignment now, as the schedule does every minute."""
    with system():
        return {"expired": assignments.expire_all(limit=environment.settings().expiry_chunk)}
