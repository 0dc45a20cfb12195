"""`keypool reminders`: what organizations and their people are reminded of by mail."""

import rich_click as click

from worker.cli import printing
from worker.cli.frame import WHOLE, Group, deferred
from worker.cli.system import operator, run

with deferred():
    from worker.outgoing import reminders

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


@command.command("list", shows=REMINDERS)
def listing() -> "list[reminders.ReminderShape]":
    """List the reminders that organizations want."""
    return run(reminders.listing, actor=operator())
