"""Statements: what an organization has open on a day, and for how long it is overdue (ageing)."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal, cast

from sqlalchemy import Row, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days, errors
from worker.database import cells
from worker.database.lookup import Id
from worker.days import Day
from worker.money import Amount
from worker.tables.labels import InvoiceKind
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

Age = Literal["not_due", "days_0_30", "days_31_60", "days_61_90", "more", "credit"]
AGES: tuple[Age, ...] = ("not_due", "days_0_30", "days_31_60", "days_61_90", "more", "credit")


class OpenItem(TypedDict):
    """An invoice or credit note with something open."""

    id: Id
    """The document's id."""
    number: str
    """Its number."""
    kind: InvoiceKind
    """Whether it is an invoice or a credit note."""
    currency: str
    """Its currency, by its ISO 4217 code."""
    issued_on: Day
    """The day of its issue."""
    due_on: Day
    """The last day to pay it."""
    total: Amount
    """Its total."""
    open: Amount
    """What is neither paid nor credited; negative for what stands to the organization's credit."""
    days_overdue: int
    """How many days ago it was due; 0 if it is not overdue."""
    age: Age
    """How long it is overdue; `credit` if it stands to the organization's credit."""


class Ageing(TypedDict):
    """What is open in one currency, by age."""

    currency: str
    """The currency, by its ISO 4217 code."""
    not_due: Amount
    """Not due yet."""
    days_0_30: Amount
    """Up to 30 days overdue."""
    days_31_60: Amount
    """31 to 60 days overdue."""
    days_61_90: Amount
    """61 to 90 days overdue."""
    more: Amount
    """Longer overdue."""
    credit: Amount
    """What stands to the organization's credit: 0 or negative."""
    open: Amount
    """The sum of these."""


class Statement(TypedDict):
    """What an organization has open at the end of a day."""

    organization: str
    """Who owes it, by name."""
    on: Day
    """The day, in the seller's time zone."""
    ageing: list[Ageing]
    """What is open, by currency and age."""
    items: list[OpenItem]
    """The documents with something open, oldest first."""


TODAY = text("SELECT (clock_now() AT TIME ZONE time_zone)::date FROM seller")

# What is open of each document as of a day: payments, credit notes and voidings of later days do not count.
# A credit note lowers what is open on its invoices, earlier ones first; the rest stands to the organization's
# credit.
OPEN = text("""
    WITH paper AS (
        SELECT invoice.*, total - coalesce((
                   SELECT sum(amount) FROM payment
                    WHERE invoice_id = invoice.id AND taken_back_at IS NULL AND paid_on <= :on), 0) AS unpaid
          FROM invoice
          JOIN seller ON true
         WHERE organization_id = :organization_id AND issued_on <= :on
           AND (status IN ('finalized', 'paid')
                OR (voided_at AT TIME ZONE seller.time_zone)::date > :on)),
    given AS (
        SELECT note.id AS note_id, tax.credits_invoice_id AS invoice_id, note.year, note.serial,
               -sum(tax.subtotal + tax.tax) AS amount
          FROM paper AS note JOIN invoice_tax AS tax ON tax.invoice_id = note.id
         WHERE tax.credits_invoice_id IS NOT NULL GROUP BY 1, 2, 3, 4),
    applied AS (
        SELECT note_id, invoice_id, given.amount,
               greatest(least(given.amount, paper.unpaid - coalesce(sum(given.amount) OVER (
                   PARTITION BY invoice_id ORDER BY given.year, given.serial
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)), 0) AS used
          FROM given JOIN paper ON paper.id = given.invoice_id),
    standing AS (
        SELECT paper.*,
               CASE WHEN kind = 'credit_note'
                    THEN unpaid + (SELECT sum(used) FROM applied WHERE note_id = paper.id)
                    WHEN unpaid <= 0 THEN unpaid
                    ELSE greatest(unpaid - coalesce(
                        (SELECT sum(amount) FROM applied WHERE invoice_id = paper.id), 0), 0) END AS open
          FROM paper)
    SELECT id, number, kind::text, currency, issued_on, due_on, total, open, minor_unit(currency) AS decimals,
           greatest(CASE WHEN open > 0 THEN CAST(:on AS date) - due_on END, 0) AS days_overdue,
           CASE WHEN open < 0 THEN 'credit' WHEN due_on >= :on THEN 'not_due'
                WHEN CAST(:on AS date) - due_on <= 30 THEN 'days_0_30'
                WHEN CAST(:on AS date) - due_on <= 60 THEN 'days_31_60'
                WHEN CAST(:on AS date) - due_on <= 90 THEN 'days_61_90' ELSE 'more' END AS age
      FROM standing WHERE open <> 0
     ORDER BY currency, due_on, year, serial
""")

COLUMNS = (
    "organization", "on", "number", "kind", "issued_on", "due_on", "days_overdue", "age", "total", "open",
    "currency",
)  # fmt: skip


def of(session: Session, *, actor: Actor, organization: str, on: str | None = None) -> Statement:
    """Give an organization's statement as of a day (default: today, in the seller's time zone).

    Raises:
        InvalidInputError: the day is malformed, or after today.
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    owner = organizations.find(session, actor=actor, name=organization)
    day = _day(session, on)
    rows = session.execute(OPEN, {"organization_id": owner.id, "on": day}).all()
    return {
        "organization": owner.name,
        "on": day.isoformat(),
        "ageing": _ageing(rows),
        "items": [_item(row) for row in rows],
    }


def as_csv(statement: Statement) -> Iterator[bytes]:
    """Write a statement's documents as a table."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    name = cells.guarded(statement["organization"])
    for item in statement["items"]:
        writer.writerow({**item, "organization": name, "on": statement["on"]})
    yield table.getvalue().encode()


def _day(session: Session, on: str | None) -> date:
    today: date = session.execute(TODAY).scalar_one()
    day = days.day(on, field="on") if on else today
    if day > today:
        raise errors.InvalidInputError(f"{day} is yet to come; today is {today}.", field="on")
    return day


def _item(row: Row[Any]) -> OpenItem:
    return {
        "id": str(row.id),
        "number": row.number,
        "kind": InvoiceKind(row.kind),
        "currency": row.currency,
        "issued_on": row.issued_on.isoformat(),
        "due_on": row.due_on.isoformat(),
        "total": f"{row.total:.{row.decimals}f}",
        "open": f"{row.open:.{row.decimals}f}",
        "days_overdue": row.days_overdue,
        "age": row.age,
    }


def _ageing(rows: Sequence[Row[Any]]) -> list[Ageing]:
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: dict.fromkeys(AGES, Decimal(0)))
    decimals: dict[str, int] = {}
    for row in rows:
        sums[row.currency][row.age] += row.open
        decimals[row.currency] = row.decimals
    return [_aged(currency, by_age, decimals[currency]) for currency, by_age in sums.items()]


def _aged(currency: str, by_age: dict[str, Decimal], decimals: int) -> Ageing:
    written = {age: f"{amount:.{decimals}f}" for age, amount in by_age.items()}
    total = f"{sum(by_age.values(), Decimal(0)):.{decimals}f}"
    return cast("Ageing", {"currency": currency, **written, "open": total})
