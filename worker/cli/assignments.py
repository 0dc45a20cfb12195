"""`keypool assignments`: learners' access to courses."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.frame import WHOLE, Group, deferred
from worker.cli.lists import ChoosingCommand, ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker import settings as environment
    from worker.database import paging
    from worker.learning import assignments, bulk, cancelling, expiring, extending

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

    # The result for one named assignment, or for each of many.
    Changed = assignments.AssignmentShown | Page[bulk.ChangedAssignment]

ASSIGNMENTS = printing.table(
    lambda: assignments.AssignmentShape,
    "id",
    "learner",
    "organization",
    "course",
    "key",
    "status",
    "redeemed_at",
    "expires_at",
    "launches",
)

REFUSED_TABLE = printing.table(lambda: bulk.ChangedAssignment, "assignment", "code", "reason")


def _show_changed(result: "Changed") -> None:
    if isinstance(result, dict):
        return printing.record(result)
    refused = [item for item in result.items if item["result"] == "refused"]
    done = Counter(item["result"] for item in result.items)
    printing.line(", ".join(f"{count:,} {word}" for word, count in done.items()) or "Nothing.")
    return REFUSED_TABLE(refused) if refused else None


def _changed(
    one: "Callable[..., assignments.AssignmentShown]",
    many: "Callable[..., paging.Page[bulk.ChangedAssignment]]",
    named: tuple[str, ...],
    filters: "assignments.Filters",
    **how: object,
) -> "Changed":
    """Change one named assignment, or many, in transactions of 500."""
    if len(named) == 1 and filters == bulk.NONE:
        return run(one, actor=operator(), assignment=named[0], **how)
    items: list[bulk.ChangedAssignment] = []
    for ids in [named[i : i + bulk.AT_ONCE] for i in range(0, len(named), bulk.AT_ONCE)] or [()]:
        after = None
        while True:
            page = run(many, actor=operator(), ids=ids, filters=filters, after=after, **how)
            items += page.items
            if (after := page.next) is None:
                break
    return paging.Page(items, None)


@click.group("assignments", cls=Group)
def command() -> None:
    """Assignments: a learner's access to a course, granted by one key."""


@command.command("list", cls=ListCommand, filters=lambda: assignments.Filters, shows=ASSIGNMENTS)
def listing(
    filters: "assignments.Filters", **page: "Unpack[Paging]"
) -> "Page[assignments.AssignmentShape]":
    """List assignments."""
    return run(assignments.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("assignment", metavar="ID")
def show(assignment: str) -> "assignments.AssignmentShown":
    """Show an assignment with its launches and history."""
    return run(assignments.show, actor=operator(), assignment=assignment)


named = click.argument("named", nargs=-1, metavar="[ID]...")


@command.command(cls=ChoosingCommand, filters=lambda: assignments.Filters, shows=_show_changed)
@named
@click.option("--until", metavar="DATE", help="The last day of access, where the learner is.")
@click.option("--by", "by_days", type=WHOLE, metavar="DAYS", help="So many days later than now.")
@click.option("--price", metavar="AMOUNT", help="Charge the pool's owner; free by default.")
def extend(
    named: tuple[str, ...],
    filters: "assignments.Filters",
    until: str | None,
    by_days: int | None,
    price: str | None,
) -> "Changed":
    """Extend access; an expired assignment becomes active again.

    Several ids, or a pool, a learner or a number of days, extend many: each has its own result.
    """
    return _changed(
        extending.extend, bulk.extend, named, filters, until=until, by_days=by_days, price=price
    )


@command.command(cls=ChoosingCommand, filters=lambda: assignments.Filters, shows=_show_changed)
@named
@click.option("--retire-key", is_flag=True, help="Do not issue the key again.")
@click.option("--reason", metavar="TEXT", help="Needed after 24 hours or a launch.")
def cancel(
    named: tuple[str, ...], filters: "assignments.Filters", retire_key: bool, reason: str | None
) -> "Changed":
    """Cancel an assignment, or many, each with its own result.

    Within 24 hours of redemption and before any launch, the charge is credited and the key can be
    redeemed again. Later nothing is credited and the key is retired.
    """
    return _changed(
        cancelling.cancel, bulk.cancel, named, filters, retire_key=retire_key, reason=reason
    )


@command.command(
    shows=printing.sentences(
        lambda done: [f"{printing.counted(done['expired'], 'assignment')} expired."]
    )
)
def expire() -> dict[str, int]:
    """Expire every overdue assignment now, as the schedule does every minute."""
    with system():
        return {"expired": expiring.expire_all(limit=environment.settings().expiry_chunk)}
