"""`keypool reminders`: what organizations and their people are reminded of by mail."""

from typing import TYPE_CHECKING

import rich_click as click

from worker.cli import printing
from worker.cli.frame import WHOLE, Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.outgoing import reminders

if TYPE_CHECKING:
    from typing import Unpack

    from worker.database.paging import Page, Paging

REMINDERS = printing.table(
    lambda: reminders.ReminderShape, "organization", "kind", "days", "keys", "to"
)
KIND = click.argument("kind")


@click.group("reminders", cls=Group)
def command() -> None:
    """Reminders: mails about keys, access, pools, invoices and reports, where they are wanted."""


@command.command()
@click.argument("organization")
@KIND
@click.option("--days", type=WHOLE, metavar="N", help="How many days before or after.")
@click.option("--keys", type=WHOLE, metavar="N", help="A pool is low below so many keys.")
@click.option("--to", metavar="EMAIL", help="Who gets it, instead of the managers; empty: they do.")
def save(
    organization: str, kind: str, days: int | None, keys: int | None, to: str | None
) -> "reminders.ReminderShape":
    """Want a reminder from now on, or change one.

    KIND is one of key_unused, access_unlaunched, access_ending, pool_low, pool_ending, invoice_sent,
    invoice_due, invoice_overdue, report_made and trouble.
    """
    return run(
        reminders.save,
        actor=operator(),
        organization=organization,
        kind=kind,
        days=days,
        keys=keys,
        to=to,
    )


@command.command()
@click.argument("organization")
@KIND
def stop(organization: str, kind: str) -> "reminders.ReminderShape":
    """Want a reminder no more."""
    return run(reminders.stop, actor=operator(), organization=organization, kind=kind)


@command.command("list", cls=ListCommand, filters=lambda: reminders.Filters, shows=REMINDERS)
def listing(
    filters: "reminders.Filters", **page: "Unpack[Paging]"
) -> "Page[reminders.ReminderShape]":
    """List the reminders that organizations want."""
    return run(reminders.listing, actor=operator(), filters=filters, **page)
