"""Invoices: finalizing, voiding, and their public objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, Unpack

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    and_,
    cast,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, aliased
from typing_extensions import TypedDict

from worker import days, errors
from worker.billing import confirming, gathering, lines, numbering, parties, required, sums
from worker.billing.lines import LineShape, LineShown, ShareOfTotal
from worker.billing.parties import BuyerShape, SellerShape
from worker.billing.sums import PaymentShape, TaxShape
from worker.database import lookup, paging
from worker.database.filters import ListFilters, Sorts, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.days import Day, Month
from worker.money import Amount
from worker.tables.billing import Invoice, Seller
from worker.tables.labels import InvoiceKind, InvoiceStatus
from worker.tables.tenancy import Currency, Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

Title = Literal["Invoice", "Credit note"]


class InvoiceFacts(TypedDict):
    """The charges of one organization, month and currency, without the lines."""

    id: Id
    """The invoice's id."""
    number: str | None
    """Its number; null while it is a draft."""
    kind: InvoiceKind
    """Whether it is an invoice or a credit note."""
    title: Title
    """Its title."""
    organization: str
    """Who pays, by name."""
    month: Month
    """The billing month."""
    currency: str
    """Its currency, by its ISO 4217 code."""
    decimals: int
    """The currency's decimals."""
    status: InvoiceStatus
    """Its status."""
    by_hand: bool
    """Whether only a person can finalize it, as after a voiding."""
    subtotal: Amount
    """The sum of its lines."""
    taxes: list[TaxShape]
    """The tax per rate."""
    tax: Amount
    """The tax in all."""
    total: Amount
    """What is to be paid: subtotal and tax."""
    finalized_at: datetime | None
    """When it was finalized."""
    issued_on: Day | None
    """The day of its issue, in the seller's time zone; null while it is a draft."""
    due_on: Day | None
    """The last day to pay it, in the seller's time zone."""
    paid_on: Day | None
    """The day of the last payment, once nothing is open."""
    open: Amount
    """The part of the total that is neither paid nor credited; 0 for a draft or a void invoice. Of a credit
    note, what stands to the organization's credit: 0 or negative."""
    overdue: bool
    """Whether it is finalized and its due day is over."""
    payments: list[PaymentShape]
    """The payments that were not taken back, by day."""
    voided_at: datetime | None
    """When it was voided."""
    void_reason: str | None
    """Why it was voided."""
    seller: SellerShape
    """The seller; for a draft, the present data."""
    buyer: BuyerShape
    """The buyer; for a draft, the present data."""


class InvoiceShape(InvoiceFacts):
    """An invoice: the charges of one organization, month and currency."""

    lines: list[LineShape]
    """What it carries."""


class InvoiceShown(InvoiceFacts):
    """An invoice with subtotals by learners' organization."""

    lines: list[LineShown]
    """What it carries."""
    missing: list[str]
    """The fields of seller and buyer that an e-invoice may need and that are empty, such as
    `buyer.country`."""
    learner_organizations: list[ShareOfTotal]
    """The part of the subtotal for each organization's learners, by name."""


class InvoiceVoided(InvoiceShown):
    """A void invoice."""

    draft: Id
    """The draft of the same month that got its charges; only a person can finalize it."""


class Standing(StrEnum):
    """An invoice's status, or overdue."""

    DRAFT = InvoiceStatus.DRAFT
    FINALIZED = InvoiceStatus.FINALIZED
    PAID = InvoiceStatus.PAID
    VOID = InvoiceStatus.VOID
    OVERDUE = "overdue"


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which invoices."""

    sorts: ClassVar[Sorts] = {"month": Invoice.month, "total": Invoice.total}

    organization: str | None = by("One organization's.")
    month: str | None = by("One month's, such as 2026-05.", longest=10, typed="month")
    status: Standing | None = by("Those that stand so.")
    kind: InvoiceKind | None = by("Invoices or credit notes alone.")


ALL = Filters()
TITLES: dict[InvoiceKind, Title] = {
    InvoiceKind.INVOICE: "Invoice",
    InvoiceKind.CREDIT_NOTE: "Credit note",
}

# What asks for money, and its last day to pay is over in the seller's time zone.
OVERDUE = and_(
    Invoice.status == InvoiceStatus.FINALIZED,
    Invoice.total > 0,
    Invoice.due_on < cast(func.timezone(Seller.time_zone, func.clock_now()), Date),
)

NOT_TO_VOID = text("""
    SELECT CASE WHEN EXISTS (SELECT FROM payment
                              WHERE invoice_id = invoice.id AND taken_back_at IS NULL) THEN 'has a payment'
                WHEN EXISTS (SELECT FROM invoice_tax WHERE credits_invoice_id = invoice.id)
                THEN 'has a credit note' END
      FROM invoice WHERE id = :invoice_id
""")


def finalize(
    session: Session,
    *,
    actor: Actor,
    invoice: str | Invoice,
    anyway: bool = False,
    then: gathering.Then = gathering.nothing,
) -> InvoiceShown:
    """Finalize a draft: gather its unbilled charges, number it, and set its due date.

    `anyway` confirms what `confirming.doubts` says. `then` gets the invoice's id, in the same
    transaction.

    Raises:
        InvoiceStatusError: it is not a draft.
        NotConfirmedError: the seller lacks something, or the month is not over.
    """
    actor.require()
    found = find_to_bill(session, actor=actor, invoice=invoice, lock=True)
    _refuse_unless(found, InvoiceStatus.DRAFT, "is no draft, so it cannot be finalized")
    buyer = gathering.lock(session, found.organization_id)
    if not anyway:
        confirming.require(session, organization_id=buyer.id, month=found.month)
    if not found.by_hand:
        gathering.gather(session, buyer, month=found.month, kind=found.kind)
    final = numbering.number(session, [found.id])
    remember(session, actor, "invoice finalized", final, buyer.id)
    then(session, final)
    return show(session, actor=actor, invoice=found)


def doubts(session: Session, *, actor: Actor, invoice: str) -> list[str]:
    """Say what a person has to confirm to finalize a draft; nothing of what is final."""
    found = find(session, actor=actor, invoice=invoice)
    if found.status is not InvoiceStatus.DRAFT:
        return []
    return confirming.doubts(session, organization_id=found.organization_id, month=found.month)


def void(session: Session, *, actor: Actor, invoice: str | Invoice, reason: str) -> InvoiceVoided:
    """Void a finalized invoice: it keeps its number and detail, its charges go to a new draft.

    Raises:
        InvoiceStatusError: it is a draft, void already, a credit note, or has a payment or a credit note.
        InvalidInputError: no reason is given.
    """
    actor.require()
    if not reason.strip():
        raise errors.InvalidInputError("Give the reason for voiding it.", field="reason")
    found = find_to_bill(session, actor=actor, invoice=invoice, lock=True)
    if _title(found) == "Credit note":
        raise errors.InvoiceStatusError("A credit note cannot be voided.")
    _refuse_unless(found, InvoiceStatus.FINALIZED, "cannot be voided")
    if why := session.scalar(NOT_TO_VOID, {"invoice_id": found.id}):
        raise errors.InvoiceStatusError(
            f"{called(found)} {why}, so it cannot be voided: credit its charges."
        )
    numbering.void(session, found.id, reason=reason.strip())
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
    filters: Filters = ALL,
    ids: list[int] | None = None,
    **page: Unpack[Paging],
) -> Page[InvoiceShape]:
    """List the invoices of the actor's organizations, newest first, a page at a time.

    `ids` limits the list to those invoices.
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    statement = _rows().where(
        actor.sees(Invoice.organization_id), *_chosen(session, actor, filters)
    )
    if ids is not None:
        statement = statement.where(Invoice.id.in_(ids))
    found = paged(
        session,
        statement,
        by=Invoice.id,
        shape=_facts,
        newest_first=True,
        sorts=Filters.sorts,
        **page,
    )
    carried = lines.of(session, {item["id"]: item["decimals"] for item in found.items})
    return found.carrying([{**item, "lines": carried[item["id"]]} for item in found.items])


def total(session: Session, *, actor: Actor, filters: Filters, most: int | None = None) -> int:
    """Count the invoices that the list would show, as `paging.total` does."""
    actor.require(Role.FINANCE, Role.ANALYST)
    chosen = _chosen(session, actor, filters)
    found = select(Invoice.id).where(actor.sees(Invoice.organization_id), *chosen)
    if filters.status is Standing.OVERDUE:
        found = found.join(Seller, true())
    return paging.total(session, found, most)


def numbered(session: Session, *, actor: Actor, piece: str, limit: int) -> list[tuple[str, str]]:
    """Find invoices by a piece of their number, newest first: number and organization of each."""
    actor.require(Role.FINANCE, Role.ANALYST)
    seen = select(Invoice.number, Organization.name).join(Organization)
    fit = Invoice.number.contains(piece, autoescape=True)
    statement = seen.where(actor.sees(Invoice.organization_id), fit).order_by(Invoice.id.desc())
    return [(row.number, row.name) for row in session.execute(statement.limit(limit))]


def show(session: Session, *, actor: Actor, invoice: str | Invoice) -> InvoiceShown:
    """Give an invoice, by id or number, with parties, lines, and their shares (B6)."""
    actor.require(Role.FINANCE, Role.ANALYST)
    found = find(session, actor=actor, invoice=invoice)
    facts = _facts(session.execute(_rows().where(Invoice.id == found.id)).one())
    carried, totals = lines.shared(session, facts["id"], facts["decimals"])
    missing = required.missing(
        "xrechnung",  # which needs what the others need, and more
        seller=facts["seller"],
        buyer=facts["buyer"],
        categories={tax["category"] for tax in facts["taxes"]},
    )
    return {**facts, "lines": carried, "missing": missing, "learner_organizations": totals}


def find(session: Session, *, actor: Actor, invoice: str | Invoice, lock: bool = False) -> Invoice:
    """Find an invoice of the actor's organizations by id or number.

    It also takes an invoice that was found before, and `lock`, as `lookup.find` does.
    """
    return lookup.find(
        session,
        Invoice,
        thing="invoice",
        name=invoice,
        named=Invoice.number,
        within=[actor.sees(Invoice.organization_id)],
        lock=lock,
    )


def find_to_bill(
    session: Session, *, actor: Actor, invoice: str | Invoice, lock: bool = False
) -> Invoice:
    """Find an invoice as `find` does, with the locks of billing: first the organization's row."""
    found = find(session, actor=actor, invoice=invoice)
    if lock and found is not invoice:
        gathering.lock(session, found.organization_id)
        session.refresh(found, with_for_update={"key_share": True})
    return found


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.organization:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        yield Invoice.organization_id == owner.id
    if filters.month:
        yield Invoice.month == days.month(filters.month)
    if filters.kind is not None:
        yield Invoice.kind == filters.kind
    if filters.status is Standing.OVERDUE:
        yield OVERDUE
    elif filters.status is not None:
        yield Invoice.status == InvoiceStatus(filters.status)


def _refuse_unless(found: Invoice, status: InvoiceStatus, sentence: str) -> None:
    if found.status is status:
        return
    paid = found.status is InvoiceStatus.PAID
    hint = ": credit its charges instead" if paid and "void" in sentence else ""
    raise errors.InvoiceStatusError(f"{called(found)} ({found.status}) {sentence}{hint}.")


def _title(found: Invoice) -> Title:
    """Name a document; the first release's invoices below zero are credit notes, too."""
    return TITLES[InvoiceKind.CREDIT_NOTE if found.total < 0 else found.kind]


def _rows() -> Select[Any]:
    """Select invoices with seller and buyer; for a draft, their present data."""
    buyer = aliased(Organization, name="buyer")
    columns: list[Any] = [
        Invoice,
        buyer.name.label("organization"),
        Currency.minor_unit.label("decimals"),
        func.invoice_open(Invoice.id, Invoice.status, Invoice.total).label("open"),
        OVERDUE.label("overdue"),
        literal_column(sums.PAYMENTS, JSONB).label("payments"),
        literal_column(sums.TAXES, JSONB).label("taxes"),
        func.coalesce(Invoice.seller, literal_column(parties.SELLER, JSONB)).label("seller"),
        func.coalesce(Invoice.buyer, literal_column(parties.BUYER, JSONB)).label("buyer"),
    ]
    return (
        select(*columns)
        .join(buyer, buyer.id == Invoice.organization_id)
        .join(Currency, Currency.code == Invoice.currency)
        .join(Seller, true(), isouter=True)
        .execution_options(populate_existing=True)  # SQL changed what the session may remember
    )


def _facts(row: Selected) -> InvoiceFacts:
    invoice: Invoice = row.Invoice
    return {
        "id": str(invoice.id),
        "number": invoice.number,
        "kind": invoice.kind,
        "title": _title(invoice),
        "organization": row.organization,
        "month": gathering.in_words(invoice.month),
        "currency": invoice.currency,
        "decimals": row.decimals,
        "status": invoice.status,
        "by_hand": invoice.by_hand,
        "subtotal": f"{invoice.subtotal:.{row.decimals}f}",
        "taxes": row.taxes,
        "tax": f"{invoice.tax:.{row.decimals}f}",
        "total": f"{invoice.total:.{row.decimals}f}",
        "finalized_at": invoice.finalized_at,
        "issued_on": invoice.issued_on.isoformat() if invoice.issued_on else None,
        "due_on": invoice.due_on.isoformat() if invoice.due_on else None,
        "paid_on": invoice.paid_on.isoformat() if invoice.paid_on else None,
        "open": f"{row.open:.{row.decimals}f}",
        "overdue": bool(row.overdue),
        "payments": row.payments,
        "voided_at": invoice.voided_at,
        "void_reason": invoice.void_reason,
        "seller": parties.seller(row.seller),
        "buyer": parties.buyer(row.buyer),
    }


def called(found: Invoice) -> str:
    """Name a document in a sentence: its title and its number or, of a draft, its id."""
    return f"{_title(found)} {found.number or found.id}"


def remember(
    session: Session,
    actor: Actor,
    action: str,
    ids: list[int],
    organization_id: int,
    **detail: object,
) -> None:
    """Record an act on an organization's invoices in the history, if there are any."""
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
