"""Charges for redemptions and paid extensions, and their credits."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Unpack

from sqlalchemy import ColumnElement, Select, and_, func, select, text
from sqlalchemy.orm import Session, aliased
from typing_extensions import TypedDict

from worker import errors
from worker.billing import invoices
from worker.database import lookup
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged, within
from worker.days import Month
from worker.money import Amount, Percent
from worker.pools import pools
from worker.tables.billing import Charge, Invoice, InvoiceCharge, InvoiceLine
from worker.tables.catalogue import Course
from worker.tables.labels import ChargeKind
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Key, Pool
from worker.tables.tenancy import Currency, Organization, TaxRate
from worker.tenancy import currencies, history, organizations
from worker.tenancy.actors import Actor, Role


class ChargeShape(TypedDict):
    """What a redemption or a paid extension cost; a credit is negative."""

    id: Id
    """The charge's id."""
    kind: ChargeKind
    """What it is for."""
    organization: str
    """Who owes it: the pool's owner, by name."""
    learner_organization: str | None
    """The learner's organization; null if you may not see it."""
    learner: str | None
    """The learner's e-mail address; null if you may not see it."""
    course: str
    """The course, by code."""
    pool: Id
    """The pool that the key is of."""
    pool_name: str
    """What that pool is called."""
    key: str | None
    """The redeemed key; null if you may not see it."""
    assignment: Id
    """The assignment that it was charged for."""
    amount: Amount
    """The amount; negative for a credit."""
    currency: str
    """In which currency, by its ISO 4217 code."""
    tax_label: str
    """What the tax on it is called."""
    tax_percent: Percent
    """The rate of that tax: the one in force when it occurred, a credit's that of its charge."""
    occurred_at: datetime
    """When the redemption, extension or credit happened."""
    invoice: Id | None
    """The invoice that it is on; null while it is unbilled, and if it and its credits cancelled out."""
    invoice_number: str | None
    """That invoice's number."""
    credits: Id | None
    """The charge that a credit gives back."""
    reason: str | None
    """Why it was credited."""


class Left(TypedDict):
    """The part of a charge that is not credited."""

    amount: Amount
    """How much."""
    currency: str
    """In which currency, by its ISO 4217 code."""


class ChargedInCurrency(TypedDict):
    """What a pool was charged in one currency; credits count as what they give back."""

    currency: str
    """The currency, by its ISO 4217 code."""
    quantity: int
    """How many charges and credits."""
    amount: Amount
    """Their sum."""
    unbilled_quantity: int
    """How many of them are on no invoice yet."""
    unbilled_amount: Amount
    """The sum of those."""
    draft_amount: Amount
    """The sum of those on a draft, which can still change."""


class PoolCharged(TypedDict):
    """What a pool was charged in its owner's current month."""

    pool: Id
    """The pool."""
    month: Month
    """The current month, in the owner's time zone."""
    currencies: list[ChargedInCurrency]
    """What it was charged, by currency; empty where nothing was."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which charges."""

    organization: str | None = by("What one organization owes.")
    pool: str | None = by("What one pool was charged.")
    assignment: int | None = by("What one assignment cost, by its id.")
    invoice: str | None = by("What an invoice carries, by its id or number.", longest=40)
    line: int | None = by("What one line of an invoice carries, by its id.")
    unbilled: bool | None = by("On no invoice yet.", otherwise="billed")
    kind: ChargeKind | None = by("Those that are for this.")
    currency: str | None = by("Those in this currency, such as EUR.", longest=3)
    since: datetime | None = by("Owed at this time or later.")
    until: datetime | None = by("Owed before this time.")


ALL = Filters()

# What is left to credit (B3). An earlier statement locked the charge, so that this one sees concurrent
# credits of the same charge.
LEFT = text("SELECT sum(amount) FROM charge WHERE id = :charge_id OR credits_id = :charge_id")

# A credit of an amount, or of all that is left; no row if nothing is left.
CREDIT = text("""
    INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                        assignment_id, credits_id, amount, currency, occurred_at, reason, tax_rate_id)
    SELECT 'credit', organization_id, learner_organization_id, course_id, pool_id, assignment_id, id,
           -coalesce(CAST(:amount AS numeric), rest.amount), currency, clock_now(), :reason, tax_rate_id
      FROM charge
     CROSS JOIN LATERAL (
           SELECT sum(part.amount) AS amount FROM charge AS part
            WHERE part.id = charge.id OR part.credits_id = charge.id) AS rest
     WHERE charge.id = :charge_id AND rest.amount > 0
    RETURNING id
""")

LONGEST_REASON = 1000

TAX_RATE_NOW = text("SELECT tax_rate_id FROM tax_rate_in_force(:organization_id, clock_now())")

# A pool's current month, in its owner's time zone, by currency. OFFSET 0: its ends are computed once,
# and not for each row.
MONTH_OF_POOL = text("""
    SELECT clock.month, charged.currency, sum(charged.quantity)::bigint AS quantity,
           sum(charged.amount) AS amount,
           sum(charged.unbilled_quantity)::bigint AS unbilled_quantity,
           sum(charged.unbilled_amount) AS unbilled_amount,
           (SELECT coalesce(sum(line.amount), 0) FROM invoice
              JOIN invoice_line AS line ON line.invoice_id = invoice.id
             WHERE invoice.organization_id = pool.organization_id AND invoice.status = 'draft'
               AND invoice.currency = charged.currency
               AND line.pool_id = pool.id AND line.service_month = clock.month) AS draft_amount
      FROM pool
      JOIN organization ON organization.id = pool.organization_id
     CROSS JOIN LATERAL (
           SELECT month, day_start(CAST(month AS date), time_zone) AS begins,
                  day_start(CAST(month + interval '1 month' AS date), time_zone) AS ends
             FROM (SELECT date_trunc('month', clock_now() AT TIME ZONE time_zone) AS month) AS now
           OFFSET 0) AS clock
      LEFT JOIN pool_charged AS charged ON charged.pool_id = pool.id
           AND charged.charged_at >= clock.begins AND charged.charged_at < clock.ends
     WHERE pool.id = :pool_id
     GROUP BY pool.id, clock.month, charged.currency ORDER BY charged.currency
""")


def charge_extension(
    session: Session,
    *,
    actor: Actor,
    assignment: Assignment,
    price: str,
    currency: str | None = None,
) -> Charge:
    """Charge the pool's owner for a longer access (A4), in the currency of the redemption's charge.

    Raises:
        InvalidInputError: the price does not fit the currency, or is negative.
    """
    redeemed = _redemption_charge(session, assignment)
    code = (currency or redeemed.currency).strip().upper()
    amount = currencies.amount(session, price, currency_code=code)
    if amount < 0:
        raise errors.InvalidInputError("A price is not negative.", field="price")
    charge = Charge(
        kind=ChargeKind.EXTENSION,
        organization_id=redeemed.organization_id,
        learner_organization_id=redeemed.learner_organization_id,
        course_id=redeemed.course_id,
        pool_id=redeemed.pool_id,
        assignment_id=assignment.id,
        amount=amount,
        currency=code,
        occurred_at=func.clock_now(),
        tax_rate_id=session.scalar(TAX_RATE_NOW, {"organization_id": redeemed.organization_id}),
    )
    session.add(charge)
    session.flush()
    detail = {"amount": str(amount), "currency": code, "assignment": assignment.id}
    history.remember(session, actor, "extension charged", charge, **detail)
    return charge


def give_back(session: Session, *, assignment: Assignment, reason: str) -> int | None:
    """Credit what is left of an undone redemption's charge (A5); None if nothing is left."""
    charge = _redemption_charge(session, assignment, lock=True)
    return _credit(session, charge, None, reason)


def left_of_redemption(session: Session, *, assignment: Assignment) -> Left:
    """Give what is left (not credited) of the charge for an assignment's redemption."""
    charge = _redemption_charge(session, assignment)
    left = currencies.text(session, _left(session, charge), charge.currency)
    return {"amount": left, "currency": charge.currency}


def credit(
    session: Session, *, actor: Actor, charge: str, reason: str, amount: str | None = None
) -> ChargeShape:
    """Credit a charge, wholly or partly, on the next credit note; gives the credit (B3).

    The operator alone may. Key and assignment stay as they are.

    Raises:
        CreditExceedsChargeError: less than that is left of it, or it is itself a credit.
        InvalidInputError: the amount is not a positive one of the currency, or no reason is given.
    """
    actor.require()
    if not 1 <= len(reason.strip()) <= LONGEST_REASON:
        raise errors.InvalidInputError(
            f"Give the reason for the credit in 1 to {LONGEST_REASON:,} characters.", field="reason"
        )
    found = find(session, actor=actor, charge=charge, lock=True)
    left = _left(session, found)
    credited = left if amount is None else _amount(session, amount, found)
    if left <= 0 or credited > left:
        raise errors.CreditExceedsChargeError(_whats_left(session, found, left))
    credit_id = _credit(session, found, credited, reason.strip())
    history.remember(
        session,
        actor,
        "charge credited",
        found,
        credit=credit_id,
        amount=currencies.text(session, credited, found.currency),
        reason=reason.strip(),
    )
    return show(session, actor=actor, charge=str(credit_id))


def show(session: Session, *, actor: Actor, charge: str) -> ChargeShape:
    """Give one charge of the actor's organizations."""
    actor.require(Role.FINANCE, Role.ANALYST)
    found = find(session, actor=actor, charge=charge)
    return shape(session.execute(_rows().where(Charge.id == found.id)).one())


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[ChargeShape]:
    """List charges and credits of the actor's organizations, newest first, a page at a time.

    A void invoice's charges are those that it had.
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    chosen = [actor.sees(Charge.organization_id), *_chosen(session, actor, filters)]
    found = select(Charge.id).where(*chosen)
    return paged(
        session, _rows(), by=Charge.id, shape=shape, newest_first=True, found=found, **page
    )


def of_pool(session: Session, *, actor: Actor, pool: str) -> PoolCharged:
    """Say what a pool was charged this month, and what of that is unbilled, by currency.

    The month is the running one in the owner's time zone; credits count as what they give back.
    """
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    found = pools.find(session, actor=actor, pool=pool)
    rows = session.execute(MONTH_OF_POOL, {"pool_id": found.id}).all()
    month: date = rows[0].month
    return {
        "pool": str(found.id),
        "month": f"{month:%Y-%m}",
        "currencies": [
            {
                "currency": row.currency,
                "quantity": row.quantity,
                "amount": currencies.text(session, row.amount, row.currency),
                "unbilled_quantity": row.unbilled_quantity,
                "unbilled_amount": currencies.text(session, row.unbilled_amount, row.currency),
                "draft_amount": currencies.text(session, row.draft_amount, row.currency),
            }
            for row in rows
            if row.currency
        ],
    }


def find(session: Session, *, actor: Actor, charge: str, lock: bool = False) -> Charge:
    """Find a charge of the actor's organizations by its id; `lock` as in `lookup.find`."""
    return lookup.find(
        session,
        Charge,
        thing="charge",
        name=charge,
        within=[actor.sees(Charge.organization_id)],
        lock=lock,
    )


def shape(row: Selected) -> ChargeShape:
    """Give a charge's public fields."""
    charge: Charge = row.Charge
    return {
        "id": str(charge.id),
        "kind": charge.kind,
        "organization": row.organization,
        "learner_organization": row.learner_organization,
        "learner": row.learner,
        "course": row.course,
        "pool": str(charge.pool_id),
        "pool_name": row.pool,
        "key": row.key,
        "assignment": str(charge.assignment_id),
        "amount": f"{charge.amount:.{row.decimals}f}",
        "currency": charge.currency,
        "tax_label": row.tax_label,
        "tax_percent": f"{row.tax_percent.normalize():f}",
        "occurred_at": charge.occurred_at,
        "invoice": str(row.invoice) if row.invoice else None,
        "invoice_number": row.number,
        "credits": str(charge.credits_id) if charge.credits_id else None,
        "reason": charge.reason,
    }


def _rows() -> Select[Any]:
    learners = aliased(Organization)
    columns: list[Any] = [
        Charge,
        Organization.name.label("organization"),
        learners.name.label("learner_organization"),
        Learner.email.label("learner"),
        Course.code.label("course"),
        Pool.name.label("pool"),
        Key.code.label("key"),
        Currency.minor_unit.label("decimals"),
        Invoice.id.label("invoice"),
        Invoice.number,
        func.coalesce(TaxRate.label, "Tax").label("tax_label"),
        func.coalesce(TaxRate.percent, Decimal(0)).label("tax_percent"),
    ]
    live = and_(InvoiceCharge.charge_id == Charge.id, InvoiceCharge.released_at.is_(None))
    return (
        select(*columns)
        .join(Organization, Organization.id == Charge.organization_id)
        .join(learners, learners.id == Charge.learner_organization_id, isouter=True)
        .join(Course, Course.id == Charge.course_id)
        .join(Pool, Pool.id == Charge.pool_id)
        .join(Currency, Currency.code == Charge.currency)
        .join(Assignment, Assignment.id == Charge.assignment_id, isouter=True)
        .join(Learner, Learner.id == Assignment.learner_id, isouter=True)
        .join(Key, Key.id == Assignment.key_id, isouter=True)
        .join(InvoiceCharge, live, isouter=True)
        .join(Invoice, Invoice.id == InvoiceCharge.invoice_id, isouter=True)
        .join(TaxRate, TaxRate.id == Charge.tax_rate_id, isouter=True)
    )


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.organization:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        yield Charge.organization_id == owner.id
    if filters.pool:
        yield Charge.pool_id == pools.find(session, actor=actor, pool=filters.pool).id
    if filters.assignment is not None:
        yield Charge.assignment_id == filters.assignment
    if filters.invoice or filters.line is not None:
        yield Charge.id.in_(_carried(session, actor, filters))
    if filters.unbilled is not None:
        yield Charge.unbilled.is_(filters.unbilled)
    if filters.kind is not None:
        yield Charge.kind == filters.kind
    if filters.currency is not None:
        yield Charge.currency == filters.currency.strip().upper()
    yield from within(Charge.occurred_at, filters.since, filters.until)


def _carried(session: Session, actor: Actor, filters: Filters) -> Select[int]:
    carried = select(InvoiceCharge.charge_id)
    if filters.invoice:
        found = invoices.find(session, actor=actor, invoice=filters.invoice)
        carried = carried.where(InvoiceCharge.invoice_id == found.id)
    if filters.line is not None:
        owner = select(InvoiceLine.invoice_id).where(InvoiceLine.id == filters.line)
        carried = carried.where(
            InvoiceCharge.invoice_id == owner.scalar_subquery(),
            InvoiceCharge.line_id == filters.line,
        )
    return carried


def _redemption_charge(session: Session, assignment: Assignment, *, lock: bool = False) -> Charge:
    statement = select(Charge).where(
        Charge.assignment_id == assignment.id, Charge.kind == ChargeKind.REDEMPTION
    )
    return session.scalars(lookup.locked(statement, of=Charge) if lock else statement).one()


def _left(session: Session, charge: Charge) -> Decimal:
    left: Decimal = session.execute(LEFT, {"charge_id": charge.id}).scalar_one()
    return left


def _whats_left(session: Session, charge: Charge, left: Decimal) -> str:
    if charge.kind == ChargeKind.CREDIT:
        return "A credit cannot be credited; credit the charge that it names."
    if left <= 0:
        return "Nothing is left of the charge to credit."
    rest = currencies.text(session, left, charge.currency)
    return f"Only {rest} {charge.currency} is left of the charge; credit that at most."


def _amount(session: Session, amount: str, charge: Charge) -> Decimal:
    checked = currencies.amount(session, amount, currency_code=charge.currency, field="amount")
    if checked <= 0:
        raise errors.InvalidInputError("Give the amount to credit, above zero.", field="amount")
    return checked


def _credit(session: Session, charge: Charge, amount: Decimal | None, reason: str) -> int | None:
    parameters = {"charge_id": charge.id, "amount": amount, "reason": reason}
    credit_id: int | None = session.execute(CREDIT, parameters).scalar_one_or_none()
    return credit_id
