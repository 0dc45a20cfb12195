"""Deferred revenue for bookkeeping: the schedule by month, and a period's journal (docs/billing.md).

A charge is deferred on its day and earned in equal parts over the days of its access. The journal has the
columns of the invoices' journal, so that one import reads both. Debits equal credits.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.billing.journals import HEADER, LINES_PER_BLOCK
from worker.days import FirstDay, Month
from worker.money import Amount
from worker.reporting import deferring, measures
from worker.tenancy.actors import Actor, Role

PLACES = {
    "first": "CAST(:first AS date)",
    "last": "CAST(:last AS date)",
    "family": f"AND {measures.SOME}",
}
SCHEDULE = text(deferring.SCHEDULE.format(end="CAST('infinity' AS date)", **PLACES))
DECIMALS = text("SELECT code, minor_unit FROM currency")

# A day is over once it is so in every time zone.
OVER = text("SELECT CAST(:last AS date) < (clock_now() AT TIME ZONE 'Etc/GMT+12')::date")
LINES = text(f"""
    {deferring.POSTINGS.format(end=PLACES["last"], **PLACES)}
    SELECT concat(
        ',', row_number() OVER (ORDER BY {deferring.ORDER}), ',', day, ',', to_char(day, 'YYYY-MM'), ',',
        event, ',', csv_cell(organization), ',',
        csv_cell(coalesce(accounts ->> concat_ws(':', role, course), accounts ->> role, role)), ',',
        role, ',', csv_cell(course), ',,,',
        round(greatest(amount, 0), decimals), ',', round(greatest(-amount, 0), decimals), ',', currency,
        chr(10))
      FROM posting LEFT JOIN seller ON true
     ORDER BY {deferring.ORDER}
""")  # noqa: S608  # constants of ours


class DeferredMonth(TypedDict):
    """What was deferred and earned in a month, in one currency, without tax."""

    month: Month
    """The month."""
    currency: str
    """The currency, by its ISO 4217 code."""
    charged: Amount
    """What was charged in the month, less credits: deferred from its day on."""
    earned: Amount
    """What of it, or of earlier charges, the month earned."""
    deferred: Amount
    """What is left to earn at the month's end."""


class Deferred(FirstDay):
    """Deferred revenue by month: of all charges up to `to`, until the last of them is earned."""

    organization: str | None
    """Whose charges they are, with its descendants; null for all."""
    to: date
    """The last day whose charges are in it."""
    months: list[DeferredMonth]
    """The months from the first one on, by currency."""


def schedule(
    session: Session,
    *,
    actor: Actor,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
) -> Deferred:
    """Give what was charged, earned and is still deferred, by month and currency.

    It begins with the month of the first day and ends when all that was charged up to the last day is
    earned. Days are inclusive; the default is the year that ends today.

    Raises:
        InvalidInputError: a day is malformed, or the last is before the first.
        NotFoundError: the actor sees no such organization.
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    about = measures.whom(session, actor, organization)
    first, last = measures.period(session, about, from_, to)
    first = first.replace(day=1)
    asked = {"name": about and about.name, "first": first, "last": last}
    decimals = {row.code: row.minor_unit for row in session.execute(DECIMALS)}

    def amount(value: Decimal, currency: str) -> Amount:
        return f"{value:.{decimals[currency]}f}"

    months: list[DeferredMonth] = [
        {
            "month": f"{row.month:%Y-%m}",
            "currency": row.currency,
            "charged": amount(row.charged, row.currency),
            "earned": amount(row.earned, row.currency),
            "deferred": amount(row.deferred, row.currency),
        }
        for row in session.execute(SCHEDULE, asked)
    ]
    return {
        "organization": about.name if about else None,
        "from": first,
        "to": last,
        "months": months,
    }


def journal(
    session: Session,
    *,
    actor: Actor,
    from_: str | date,
    to: str | date,
    organization: str | None = None,
) -> Iterator[bytes]:
    """Give a period's postings as CSV, in blocks, on the seller's accounts; the operator alone may.

    Raises:
        InvalidInputError: a day is malformed, or the last is before the first or not over everywhere.
        NotFoundError: there is no such organization.
    """
    actor.require()
    about = measures.whom(session, actor, organization)
    first, last = measures.period(session, about, from_, to)
    if not session.execute(OVER, {"last": last}).scalar_one():
        raise errors.InvalidInputError(
            f"{last} is not over yet; a journal is of days that are.", field="to"
        )
    return _blocks(session, {"name": about and about.name, "first": first, "last": last})


def _blocks(session: Session, asked: measures.Asked) -> Iterator[bytes]:
    yield HEADER.encode()
    rows = session.execute(LINES, asked, execution_options={"yield_per": LINES_PER_BLOCK})
    for block in rows.scalars().partitions(LINES_PER_BLOCK):
        yield "".join(block).encode()
