"""Invoices: run, finalized, paid or voided; and shown as everybody sees them."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from worker import days, errors
from worker.billing import gathering
from worker.database import connections, lookup, versions
from worker.database.paging import Page, paged
from worker.settings import settings
from worker.tables.billing import Invoice
from worker.tables.labels import InvoiceStatus
from worker.tables.tenancy import Currency, Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

log = structlog.get_logger()

# At UTC+14, where every month begins first.
BEGUN = text("SELECT CAST(:month AS date) <= clock_now() AT TIME ZONE 'Pacific/Kiritimati'")

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


@dataclass
class Run:
    """What a billing run did: invoices made or added to, finalized ones, and how many charges.

    `failed` are organizations whose bills could not be made; the others' are.
    """

    organizations: int = 0
    charges: int = 0
    drafted: list[int] = field(default_factory=list)
    finalized: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    def add(self, charges: dict[int, int], finalized: list[int]) -> None:
        """Count what one organization's committed transaction did."""
        self.organizations += 1
        self.charges += sum(charges.values())
        self.drafted += charges
        self.finalized += finalized

    @property
    def invoices(self) -> list[int]:
        """The ids of all invoices that the run changed, in order."""
        return sorted({*self.drafted, *self.finalized})


def run(
    *,
    actor: Actor,
    month: str | None = None,
    finalize: bool = False,
    grace: timedelta = timedelta(),
    stop: Callable[[], bool] = lambda: False,
    transaction: Callable[..., Any] = connections.transaction,
) -> Run:
    """Bill what is unbilled of every closed month, or of one `month` (the running one: a draft).

    Each organization is one transaction of its own; whoever runs at the same time waits for it,
    and a run that died is made good by the next. With `finalize`, drafts of closed months are
    finalized once `grace` has passed since their month's end, but for those that a voiding left
    for a person. Between organizations, `stop` is asked whether to leave the rest to a later run.
    `transaction` runs a function in one, as `database.transaction` does.

    Raises:
        InvalidInputError: the month is none, or has not begun anywhere.
    """
    actor.require()
    first = days.month(month) if month else None
    done = Run()
    for organization_id in transaction(_due, month=first, finalize=finalize):
        if stop():
            break
        try:
            done.add(
                *transaction(
                    bill,
                    actor=actor,
                    organization_id=organization_id,
                    month=first,
                    grace=grace if finalize else None,
                )
            )
        except errors.DatabaseAwayError:
            raise
        except Exception:  # one organization's trouble keeps no other's invoice back
            log.exception("organization not billed", organization=organization_id)
            done.failed.append(organization_id)
    return done


def run_scheduled(*, actor: Actor, until: float = math.inf) -> dict[str, int]:
    """Bill every closed month, finalize what is past its grace, and give figures for the log.

    It leaves the rest to the next time once `until` (of time.monotonic) has come.
    """
    done = run(
        actor=actor,
        finalize=True,
        grace=settings().invoice_grace,
        stop=lambda: time.monotonic() >= until,
    )
    return {
        "charges": done.charges,
        "drafted": len(done.drafted),
        "finalized": len(done.finalized),
        "failed": len(done.failed),
    }


def bill(
    session: Session,
    *,
    actor: Actor,
    organization_id: int,
    month: date | None = None,
    grace: timedelta | None = None,
) -> tuple[dict[int, int], list[int]]:
    """Bill one organization in one transaction, as `run` does.

    Gives how many charges each draft took, and which invoices were finalized: none where `grace`
    is None.
    """
    gathering.unhurry(session)
    buyer = gathering.lock(session, organization_id)
    charges = gathering.gather(session, buyer, month=month)
    finalized: list[int] = []
    if grace is not None:
        due = gathering.finalizable(session, buyer, month=month, grace=grace)
        finalized = gathering.number(session, due)
    _remember(session, actor, "invoice drafted", list(charges), buyer.id)
    _remember(session, actor, "invoice finalized", finalized, buyer.id)
    return charges, finalized


def finalize(session: Session, *, actor: Actor, invoice: str) -> dict[str, Any]:
    """Finalize a draft, with whatever belongs on it by now: number it and set its due date.

    Raises:
        InvoiceStatusError: it is not a draft.
    """
    actor.require()
    found = find(session, actor=actor, invoice=invoice)
    buyer = gathering.lock(session, found.organization_id)
    _refuse_unless(session, found, "draft", "is no draft, so it cannot be finalized")
    gathering.gather(session, buyer, month=found.month)
    _remember(session, actor, "invoice finalized", gathering.number(session, [found.id]), buyer.id)
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
        _remember(session, actor, "invoice paid", [found.id], found.organization_id, on=on)
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
    _remember(
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
) -> Page:
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


def _due(session: Session, *, month: date | None, finalize: bool) -> list[int]:
    if month and not session.execute(BEGUN, {"month": month}).scalar_one():
        raise errors.InvalidInputError(
            f"{gathering.in_words(month)} has not begun yet; give a month up to the running one.",
            field="month",
        )
    return gathering.due(session, month=month, finalize=finalize)


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


def _remember(
    session: Session, actor: Actor, action: str, ids: list[int], organization_id: int, **detail: Any
) -> None:
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
