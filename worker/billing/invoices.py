"""Invoices: finalized, paid or voided; and shown as everybody sees them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from worker import days, errors
from worker.billing import gathering
from worker.database import connections, lookup, versions
from worker.database.paging import Page, paged
from worker.tables.billing import Invoice
from worker.tables.labels import InvoiceStatus
from worker.tables.tenancy import Currency, Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

PAY = text("""
    UPDATE invoice SET status = 'paid', paid_on = :on
     WHERE id = :invoice_id AND status = 'finalized' RETURNING id
""")

VOID = text("""
    UPDATE invoice SET status = 'void', voided_at = clock_now(), void_reason = :reason
     WHERE id = :invoice_id AND status = 'finalized' RETURNING id
""")

STATUS = text("SELECT status::text, paid_on FROM invoice WHERE id = :invoice_id")

LINES = text("""
    SELECT invoice_line.*, course.code AS course,
           coalesce(invoice_line.course_title, course.title) AS title,
           coalesce(invoice_line.pool_name, pool.name) AS pool
      FROM invoice_line
      JOIN course ON course.id = invoice_line.course_id
      JOIN pool ON pool.id = invoice_line.pool_id
     WHERE invoice_id = ANY (:invoice_ids)
     ORDER BY invoice_id, course.code, pool.name, pool_id, service_month, kind, unit_price DESC
""")

# Whose learners the charges of a line were for.
SHARES = text("""
    SELECT line_id, organization.name AS organization, share.quantity,
           share.quantity * unit_price AS amount
      FROM invoice_share AS share
      JOIN invoice_line ON invoice_line.id = line_id
      JOIN organization ON organization.id = learner_organization_id
     WHERE share.invoice_id = :invoice_id
     ORDER BY line_id, organization.name
""")

PARTIES = text(f"""
    SELECT {gathering.SELLER} AS seller, {gathering.BUYER} AS buyer
      FROM organization AS buyer LEFT JOIN seller ON true
     WHERE buyer.id = :organization_id
""")  # noqa: S608  # both are constants


def finalize(
    session: Session, *, actor: Actor, invoice: str, then: gathering.Then = gathering.nothing
) -> dict[str, Any]:
    """Finalize a draft, with whatever belongs on it by now: number it and set its due date.

    `then` is given the invoice's id, in the same transaction.

    Raises:
        InvoiceStatusError: it is not a draft.
    """
    actor.require()
    found = find(session, actor=actor, invoice=invoice)
    buyer = gathering.lock(session, found.organization_id)
    _refuse_unless(session, found, "draft", "is no draft, so it cannot be finalized")
    gathering.gather(session, buyer, month=found.month)
    final = gathering.number(session, [found.id])
    remember(session, actor, "invoice finalized", final, buyer.id)
    then(session, final)
    return show(session, actor=actor, invoice=str(found.id))


def pay(session: Session, *, actor: Actor, invoice: str, on: str) -> dict[str, Any]:
    """Say that an invoice was paid on a day; saying the same again changes nothing.

    Raises:
        InvoiceStatusError: it is not finalized, or was paid on another day.
        InvalidInputError: the day is none, or more than a year from now.
    """
    actor.require()
    found = find(session, actor=actor, invoice=invoice)
    day = _payment_day(session, on)
    if session.execute(PAY, {"invoice_id": found.id, "on": day}).one_or_none():
        remember(session, actor, "invoice paid", [found.id], found.organization_id, on=on)
    elif session.execute(STATUS, {"invoice_id": found.id}).one().paid_on != day:
        _refuse_unless(session, found, "finalized", "cannot be paid")
    return show(session, actor=actor, invoice=str(found.id))


def void(session: Session, *, actor: Actor, invoice: str, reason: str) -> dict[str, Any]:
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
    found = find(session, actor=actor, invoice=invoice)
    gathering.lock(session, found.organization_id)
    told = {"invoice_id": found.id, "reason": reason.strip()}
    if session.execute(VOID, told).one_or_none() is None:
        _refuse_unless(session, found, "finalized", "cannot be voided")
    draft = gathering.draft_anew(session, found.id)
    remember(
        session, actor, "invoice voided", [found.id], found.organization_id,
        reason=reason.strip(), draft=draft,
    )  # fmt: skip
    return {**show(session, actor=actor, invoice=str(found.id)), "draft": str(draft)}


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
    wanted = _rows(actor)
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


def show(session: Session, *, actor: Actor, invoice: str) -> dict[str, Any]:
    """Give an invoice, found by id or number, whole: parties, lines, and their shares.

    A draft's seller and buyer are as they stand now. Each line's `learner_organizations` tell
    whose learners its charges were for (B6).
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    found = find(session, actor=actor, invoice=invoice)
    item = _shape(session.execute(_rows(actor).where(Invoice.id == found.id)).one())
    if item["seller"] is None:
        row = session.execute(PARTIES, {"organization_id": found.organization_id}).one()
        item |= {"seller": row.seller, "buyer": row.buyer}
    _attach_lines(session, [item])
    _attach_shares(session, item)
    return item


def find(session: Session, *, actor: Actor, invoice: str) -> Invoice:
    """Find an invoice of the actor's organizations by id or number."""
    return lookup.find(
        session,
        Invoice,
        thing="invoice",
        name=invoice,
        named=Invoice.number == invoice.strip(),
        within=[actor.sees(Invoice.organization_id)],
    )


def hold(session: Session, things: Sequence[Invoice]) -> None:
    """Lock invoices as whoever bills does: their organizations first."""
    for invoice in things:
        gathering.lock(session, invoice.organization_id)
    versions.hold(session, things)


def _refuse_unless(session: Session, found: Invoice, status: str, sentence: str) -> None:
    now = session.execute(STATUS, {"invoice_id": found.id}).one().status
    if now == status:
        return
    hint = ": credit its charges instead" if now == "paid" and "void" in sentence else ""
    called = f"Invoice {found.number or found.id} ({now})"
    raise errors.InvoiceStatusError(f"{called} {sentence}{hint}.")


def _payment_day(session: Session, on: str) -> date:
    day = days.day(on, field="on")
    if abs(day - connections.clock_now(session).date()) > timedelta(days=366):
        raise errors.InvalidInputError(
            f"{day} is more than a year from now; check the year.", field="on"
        )
    return day


def _rows(actor: Actor) -> Select[Any]:
    columns: list[Any] = [
        Invoice,
        Organization.name.label("organization"),
        Currency.minor_unit.label("decimals"),
    ]
    return (
        select(*columns)
        .join(Organization, Organization.id == Invoice.organization_id)
        .join(Currency, Currency.code == Invoice.currency)
        .where(actor.sees(Invoice.organization_id))
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
        "seller": invoice.seller,
        "buyer": invoice.buyer,
        "lines": [],
    }


def _attach_lines(session: Session, items: list[dict[str, Any]]) -> None:
    by_id = {int(item["id"]): item for item in items}
    for row in session.execute(LINES, {"invoice_ids": list(by_id)}):
        item = by_id[row.invoice_id]
        item["lines"].append(
            {
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
        )


def _attach_shares(session: Session, item: dict[str, Any]) -> None:
    lines = {int(line["id"]): line for line in item["lines"]}
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in session.execute(SHARES, {"invoice_id": int(item["id"])}):
        share = {
            "organization": row.organization,
            "quantity": row.quantity,
            "amount": _printed(row.amount, item),
        }
        lines[row.line_id].setdefault("learner_organizations", []).append(share)
        totals[row.organization] += row.amount
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
