"""Invoices: finalized, paid or voided; and shown as everybody sees them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, Select, TextClause, func, literal_column, select, text, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, aliased

from worker import days, errors
from worker.billing import gathering
from worker.database import connections, lookup
from worker.database.paging import Page, paged
from worker.tables.billing import Invoice, Seller
from worker.tables.labels import InvoiceStatus
from worker.tables.tenancy import Currency, Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

# A row a line or, with shares, one for each organization whose learners its charges were for.
LINES = """
    SELECT invoice_line.*, course.code AS course,
           coalesce(invoice_line.course_title, course.title) AS title,
           coalesce(invoice_line.pool_name, pool.name) AS pool {shares}
      FROM invoice_line
      JOIN course ON course.id = invoice_line.course_id
      JOIN pool ON pool.id = invoice_line.pool_id {joined}
     WHERE invoice_line.invoice_id = ANY (:invoice_ids)
     ORDER BY invoice_line.invoice_id, course.code, pool.name, invoice_line.pool_id,
              service_month, kind, unit_price DESC, invoice_line.id {ordered}
"""
LINES_ALONE = text(LINES.format(shares="", joined="", ordered=""))
LINES_WITH_SHARES = text(
    LINES.format(
        shares=""", organization.name AS learners, share.quantity AS share_quantity,
           share.quantity * unit_price AS share_amount""",
        joined="""
      LEFT JOIN invoice_share AS share ON share.line_id = invoice_line.id
           AND share.invoice_id = invoice_line.invoice_id
      LEFT JOIN organization ON organization.id = share.learner_organization_id""",
        ordered=", organization.name",
    )
)


def finalize(
    session: Session,
    *,
    actor: Actor,
    invoice: str | Invoice,
    then: gathering.Then = gathering.nothing,
) -> dict[str, Any]:
    """Finalize a draft, with whatever belongs on it by now: number it and set its due date.

    `then` is given the invoice's id, in the same transaction.

    Raises:
        InvoiceStatusError: it is not a draft.
    """
    actor.require()
    found = find(session, actor=actor, invoice=invoice, lock=True)
    _refuse_unless(found, InvoiceStatus.DRAFT, "is no draft, so it cannot be finalized")
    buyer = gathering.lock(session, found.organization_id)
    gathering.gather(session, buyer, month=found.month)
    final = gathering.number(session, [found.id])
    remember(session, actor, "invoice finalized", final, buyer.id)
    then(session, final)
    return show(session, actor=actor, invoice=found)


def pay(session: Session, *, actor: Actor, invoice: str | Invoice, on: str) -> dict[str, Any]:
    """Say that an invoice was paid on a day; saying the same again changes nothing.

    Raises:
        InvoiceStatusError: it is not finalized, or was paid on another day.
        InvalidInputError: the day is none, or more than a year from now.
    """
    actor.require()
    found = find(session, actor=actor, invoice=invoice, lock=True)
    day = _payment_day(session, on)
    if found.paid_on != day:
        _refuse_unless(found, InvoiceStatus.FINALIZED, "cannot be paid")
        found.status, found.paid_on = InvoiceStatus.PAID, day
        session.flush()
        remember(session, actor, "invoice paid", [found.id], found.organization_id, on=on)
    return show(session, actor=actor, invoice=found)


def void(session: Session, *, actor: Actor, invoice: str | Invoice, reason: str) -> dict[str, Any]:
    """Void a finalized invoice: it keeps its number and detail, its charges go to a new draft.

    Gives the void invoice and, as `draft`, the id of the draft of the same month that took its
    charges and that only a person finalizes.

    Raises:
        InvoiceStatusError: it is a draft, void already, or paid (credit its charges instead).
        InvalidInputError: no reason is given.
    """
    actor.require()
    if not reason.strip():
        raise errors.InvalidInputError("Give the reason for voiding it.", field="reason")
    found = find(session, actor=actor, invoice=invoice, lock=True)
    _refuse_unless(found, InvoiceStatus.FINALIZED, "cannot be voided")
    found.status, found.void_reason = InvoiceStatus.VOID, reason.strip()
    found.voided_at = func.clock_now()
    session.flush()
    draft = gathering.draft_anew(session, found.id)
    remember(
        session, actor, "invoice voided", [found.id], found.organization_id,
        reason=reason.strip(), draft=draft,
    )  # fmt: skip
    return {**show(session, actor=actor, invoice=found), "draft": str(draft)}


def listing(
    session: Session,
    *,
    actor: Actor,
    organization: str | None = None,
    month: str | None = None,
    status: str | None = None,
    ids: list[int] | None = None,
    sort: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[dict[str, Any]]:
    """List the invoices of the actor's organizations, newest first, a page at a time."""
    actor.require(Role.FINANCE, Role.ANALYST)
    wanted = _rows().where(actor.sees(Invoice.organization_id))
    if organization:
        owner = organizations.find(session, actor=actor, name=organization)
        wanted = wanted.where(Invoice.organization_id == owner.id)
    if month:
        wanted = wanted.where(Invoice.month == days.month(month))
    if status:
        wanted = wanted.where(Invoice.status == lookup.label(InvoiceStatus, status, field="status"))
    if ids is not None:
        wanted = wanted.where(Invoice.id.in_(ids))
    page = paged(
        session,
        wanted,
        by=Invoice.id,
        after=after,
        limit=limit,
        shape=_shape,
        newest_first=True,
        sort=sort,
        sorts={"month": Invoice.month, "total": Invoice.total},
    )
    _attach_lines(session, page.items)
    return page


def show(session: Session, *, actor: Actor, invoice: str | Invoice) -> dict[str, Any]:
    """Give an invoice, found by id or number, whole: parties, lines, and their shares.

    A draft's seller and buyer are as they stand now. Each line's `learner_organizations` tell
    whose learners its charges were for (B6).
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    found = find(session, actor=actor, invoice=invoice)
    item = _shape(session.execute(_rows().where(Invoice.id == found.id)).one())
    _attach_shares(item, _attach_lines(session, [item], LINES_WITH_SHARES))
    return item


def find(session: Session, *, actor: Actor, invoice: str | Invoice, lock: bool = False) -> Invoice:
    """Find an invoice of the actor's organizations by id or number.

    It takes an invoice that was found before. With `lock`, it is locked as whoever bills does it: the
    organization first.
    """
    if isinstance(invoice, Invoice):
        return invoice
    found = lookup.find(
        session,
        Invoice,
        thing="invoice",
        name=invoice,
        named=Invoice.number,
        within=[actor.sees(Invoice.organization_id)],
    )
    if lock:
        gathering.lock(session, found.organization_id)
        session.refresh(found, with_for_update={"key_share": True})
    return found


def _refuse_unless(found: Invoice, status: InvoiceStatus, sentence: str) -> None:
    if found.status is status:
        return
    paid = found.status is InvoiceStatus.PAID
    hint = ": credit its charges instead" if paid and "void" in sentence else ""
    called = f"Invoice {found.number or found.id} ({found.status})"
    raise errors.InvoiceStatusError(f"{called} {sentence}{hint}.")


def _payment_day(session: Session, on: str) -> date:
    day = days.day(on, field="on")
    if abs(day - connections.clock_now(session).date()) > timedelta(days=366):
        raise errors.InvalidInputError(
            f"{day} is more than a year from now; check the year.", field="on"
        )
    return day


def _rows() -> Select[Any]:
    """Select invoices with whom they are between: a draft's parties are as they stand now."""
    buyer = aliased(Organization, name="buyer")
    columns: list[Any] = [
        Invoice,
        buyer.name.label("organization"),
        Currency.minor_unit.label("decimals"),
        func.coalesce(Invoice.seller, literal_column(gathering.SELLER, JSONB)).label("seller"),
        func.coalesce(Invoice.buyer, literal_column(gathering.BUYER, JSONB)).label("buyer"),
    ]
    return (
        select(*columns)
        .join(buyer, buyer.id == Invoice.organization_id)
        .join(Currency, Currency.code == Invoice.currency)
        .join(Seller, true(), isouter=True)
        .execution_options(populate_existing=True)  # SQL changed what the session may remember
    )


def _shape(row: Any) -> dict[str, Any]:
    invoice: Invoice = row.Invoice
    return {
        "id": str(invoice.id),
        "number": invoice.number,
        "title": "Credit note" if invoice.total < 0 else "Invoice",
        "organization": row.organization,
        "month": gathering.in_words(invoice.month),
        "currency": invoice.currency,
        "decimals": row.decimals,
        "status": str(invoice.status),
        "by_hand": invoice.by_hand,
        "subtotal": f"{invoice.subtotal:.{row.decimals}f}",
        "tax_label": invoice.tax_label,
        "tax_percent": f"{invoice.tax_percent.normalize():f}",
        "tax": f"{invoice.tax:.{row.decimals}f}",
        "total": f"{invoice.total:.{row.decimals}f}",
        "finalized_at": invoice.finalized_at,
        "due_on": invoice.due_on and invoice.due_on.isoformat(),
        "paid_on": invoice.paid_on and invoice.paid_on.isoformat(),
        "voided_at": invoice.voided_at,
        "void_reason": invoice.void_reason,
        "seller": row.seller,
        "buyer": row.buyer,
        "lines": [],
    }


def _attach_lines(
    session: Session, items: list[dict[str, Any]], lines: TextClause = LINES_ALONE
) -> Sequence[Row[Any]]:
    by_id = {int(item["id"]): item for item in items}
    rows = session.execute(lines, {"invoice_ids": list(by_id)}).all()
    for row in rows:
        item = by_id[row.invoice_id]
        if not item["lines"] or item["lines"][-1]["id"] != str(row.id):
            item["lines"].append(_line(row, item))
    return rows


def _line(row: Row[Any], item: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "course": row.course,
        "course_title": row.title,
        "pool": str(row.pool_id),
        "pool_name": row.pool,
        "kind": row.kind,
        "service_month": gathering.in_words(row.service_month),
        "unit_price": _printed(row.unit_price, item),
        "quantity": row.quantity,
        "amount": _printed(row.amount, item),
    }


def _attach_shares(item: dict[str, Any], rows: Sequence[Row[Any]]) -> None:
    lines = {int(line["id"]): line for line in item["lines"]}
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row.learners is None:
            continue
        share = {
            "organization": row.learners,
            "quantity": row.share_quantity,
            "amount": _printed(row.share_amount, item),
        }
        lines[row.id].setdefault("learner_organizations", []).append(share)
        totals[row.learners] += row.share_amount
    item["learner_organizations"] = [
        {"organization": name, "amount": _printed(amount, item)}
        for name, amount in sorted(totals.items())
    ]


def _printed(amount: Decimal, item: dict[str, Any]) -> str:
    return f"{amount:.{item['decimals']}f}"


def remember(
    session: Session, actor: Actor, action: str, ids: list[int], organization_id: int, **detail: Any
) -> None:
    """Write into the history what was done with an organization's invoices, where there are any."""
    if ids:
        history.record(
            session,
            actor=actor,
            action=action,
            thing="invoice",
            thing_ids=ids,
            organization_id=organization_id,
            **detail,
        )
