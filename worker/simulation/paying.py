"""The invoices of the past: each month's a few days after its end, paid as customers pay."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.billing import gathering, payments, runs
from worker.billing.runs import Run
from worker.database import connections
from worker.database.connections import clock_now
from worker.reporting import keeping
from worker.simulation.clock import later
from worker.tables.billing import Charge, Invoice
from worker.tables.labels import InvoiceKind, InvoiceStatus
from worker.tenancy.actors import Actor

BILLED_AFTER = timedelta(days=2, hours=9)  # from a month's end in UTC
# Customers pay within these days of the due day, so many in a hundred; three never do.
HABITS = {(-25, -8): 20, (-7, 0): 48, (1, 25): 20, (26, 100): 9, None: 3}


def bill(*, actor: Actor, reports: bool = True) -> Run:
    """Invoice every closed month as of soon after its end, and record what customers have paid since.

    With `reports`, those of the last closed month are requested, as a billing run does.
    """
    now, first = connections.transaction(_span)
    made = Run()
    for at in _ends(first, now):
        last = (at + timedelta(days=32)) > now
        with later(at - now):
            # Anyway: what is invented needs no seller.
            done = runs.run(
                actor=actor,
                finalize=True,
                anyway=True,
                then=keeping.ask_after if last and reports else gathering.nothing,
            )
        made = replace(
            made, charges=made.charges + done.charges, finalized=made.finalized + done.finalized
        )
    connections.transaction(_pay, actor=actor, invoices=made.finalized, today=now.date())
    return made


def _span(session: Session) -> tuple[datetime, datetime | None]:
    """Give the clock, and when the oldest charge occurred that is not billed."""
    oldest = select(func.min(Charge.occurred_at)).where(Charge.unbilled)
    return clock_now(session), session.scalar(oldest)


def _ends(first: datetime | None, now: datetime) -> Iterator[datetime]:
    """Give when each month since the first instant is billed: the last of all is now at the latest."""
    day = first
    while day is not None and day < now:
        month = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        day = (month + timedelta(days=32)).replace(day=1)
        if day <= now:
            yield min(day + BILLED_AFTER, now)


def _pay(session: Session, *, actor: Actor, invoices: list[int], today: date) -> None:
    issued = select(Invoice).where(
        Invoice.id.in_(invoices),
        Invoice.status == InvoiceStatus.FINALIZED,
        Invoice.kind == InvoiceKind.INVOICE,
    )
    for invoice in session.scalars(issued.order_by(Invoice.id)).all():
        on = _paid_on(invoice)
        if on is not None and on < today:
            payments.pay(session, actor=actor, invoice=invoice, on=on.isoformat())


def _paid_on(invoice: Invoice) -> date | None:
    """Draw the day on which it is paid, the same for the same number; None: never."""
    dice = random.Random(f"{invoice.year}-{invoice.serial}")  # noqa: S311  # no security needed
    (habit,) = dice.choices(list(HABITS), list(HABITS.values()))
    if habit is None or invoice.issued_on is None or invoice.due_on is None:
        return None
    return max(invoice.issued_on, invoice.due_on + timedelta(days=dice.randint(*habit)))
