"""Payments: money received for invoices, also in parts; wrong ones can be taken back (B5a)."""

from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from worker import days, errors
from worker.billing import invoices, numbering
from worker.billing.invoices import InvoiceShown
from worker.database import lookup
from worker.tables.billing import Invoice, Payment
from worker.tables.labels import InvoiceStatus
from worker.tenancy import currencies
from worker.tenancy.actors import Actor

OPEN = text("""
    SELECT invoice_open(id, status, total) AS open,
           (clock_now() AT TIME ZONE seller.time_zone)::date AS today
      FROM invoice, seller WHERE id = :invoice_id
""")
TAKE_BACK = text("""
    UPDATE payment SET taken_back_at = clock_now(), taken_back_because = :reason
     WHERE id = :payment_id AND taken_back_at IS NULL RETURNING id
""")

# A credit note that would be paid out beyond what is left of it.
REFUNDED = text("""
    SELECT number FROM invoice
     WHERE id IN (SELECT invoice_id FROM invoice_tax WHERE credits_invoice_id = :invoice_id)
       AND invoice_open(id, status, total) > 0
     ORDER BY number LIMIT 1
""")


def pay(
    session: Session,
    *,
    actor: Actor,
    invoice: str | Invoice,
    on: str,
    amount: str | None = None,
    reference: str = "",
) -> InvoiceShown:
    """Record money received for an invoice; by default all that is open. Gives the invoice.

    Idempotent: the same day, amount and reference again are the same payment. Without an amount, so
    is the day on which the invoice was fully paid.

    Raises:
        InvoiceStatusError: the invoice is a draft or void, or paid already.
        InvalidInputError: the day is before the issue date or after today, or the amount is
            zero, or more than is open.
    """
    actor.require()
    found = invoices.find_to_bill(session, actor=actor, invoice=invoice, lock=True)
    now = session.execute(OPEN, {"invoice_id": found.id}).one()
    day, reference = days.day(on, field="on"), _reference(reference)
    part = _part(session, found, amount)
    if not _is_recorded(session, found, day, part, reference):
        _require_open(found)
        _check_day(found, day, today=now.today)
        _record(session, actor, found, day, _within(found, part, now.open), now, reference)
    return invoices.show(session, actor=actor, invoice=found)


def take_back(session: Session, *, actor: Actor, payment: str, reason: str) -> InvoiceShown:
    """Take back a payment that was recorded wrongly: its amount is open again. Gives the invoice.

    Raises:
        InvalidInputError: no reason is given.
        NotFoundError: there is no such payment, or it was taken back before.
    """
    actor.require()
    reason = reason.strip()
    if not 1 <= len(reason) <= 1000:
        raise errors.InvalidInputError("Give the reason in 1 to 1000 characters.", field="reason")
    taken = lookup.find(session, Payment, thing="payment", name=payment)
    found = invoices.find_to_bill(session, actor=actor, invoice=str(taken.invoice_id), lock=True)
    if session.execute(TAKE_BACK, {"payment_id": taken.id, "reason": reason}).one_or_none() is None:
        raise errors.NotFoundError(f"Payment {taken.id} was taken back already.", thing="payment")
    if refunded := session.scalar(REFUNDED, {"invoice_id": found.id}):
        raise errors.InvoiceStatusError(
            f"Credit note {refunded} was paid out because of this payment; take that back first."
        )
    numbering.settle(session, [found.id])
    invoices.remember(
        session, actor, "payment taken back", [found.id], found.organization_id,
        payment=str(taken.id), amount=str(taken.amount.normalize()), reason=reason,
    )  # fmt: skip
    return invoices.show(session, actor=actor, invoice=found)


def _part(session: Session, found: Invoice, amount: str | None) -> Decimal | None:
    if amount is None:
        return None
    part = currencies.amount(session, amount, currency_code=found.currency, field="amount")
    if part <= 0:
        raise errors.InvalidInputError("A payment is more than nothing.", field="amount")
    return part


def _reference(value: str) -> str:
    if len(value.strip()) > 200:
        raise errors.InvalidInputError("A reference has up to 200 characters.", field="reference")
    return value.strip()


def _is_recorded(
    session: Session, found: Invoice, day: date, part: Decimal | None, reference: str
) -> bool:
    """Say whether the same payment is recorded already; parts without a reference are never the same."""
    if part is None:
        return found.paid_on == day
    same = select(Payment.id).where(
        Payment.invoice_id == found.id,
        Payment.paid_on == day,
        func.abs(Payment.amount) == part,  # below zero where it was paid out
        Payment.reference == reference,
        Payment.taken_back_at.is_(None),
    )
    return bool(reference) and session.scalar(same.limit(1)) is not None


def _require_open(found: Invoice) -> None:
    if found.status is not InvoiceStatus.FINALIZED:
        raise errors.InvoiceStatusError(
            f"{invoices.called(found)} ({found.status}) cannot be paid."
        )


def _check_day(found: Invoice, day: date, *, today: date) -> None:
    if found.issued_on is None or day < found.issued_on:
        raise errors.InvalidInputError(
            f"{day} is before the invoice was issued, on {found.issued_on}.", field="on"
        )
    if day > today:
        raise errors.InvalidInputError(f"{day} is yet to come; today is {today}.", field="on")


def _within(found: Invoice, part: Decimal | None, still: Decimal) -> Decimal:
    """Check an amount against what is open; for a negative total it is a refund, and negative."""
    if part is not None and part > abs(still):
        raise errors.InvalidInputError(
            f"{part} is more than the {abs(still).normalize():f} {found.currency} that is open.",
            field="amount",
        )
    return still if part is None else part.copy_sign(still)


def _record(
    session: Session,
    actor: Actor,
    found: Invoice,
    day: date,
    part: Decimal,
    before: Row[Any],
    reference: str,
) -> None:
    payment = Payment(invoice_id=found.id, paid_on=day, amount=part, reference=reference)
    session.add(payment)
    session.flush()
    numbering.settle(session, [found.id])
    whole = part == before.open
    invoices.remember(
        session, actor, "invoice paid" if whole else "payment recorded", [found.id],
        found.organization_id, payment=str(payment.id), on=str(day), amount=f"{part.normalize():f}",
        reference=reference,
    )  # fmt: skip
