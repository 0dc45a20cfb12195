"""Prices of a course's redemptions from an instant on, for an organization or for all."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from sqlalchemy import Select, and_, exists, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days, errors
from worker.catalogue import courses
from worker.database import locks, lookup
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.days import Beginning
from worker.money import Amount
from worker.tables.catalogue import Course, Price
from worker.tables.tenancy import Organization
from worker.tenancy import currencies, history, organizations
from worker.tenancy.actors import Actor, Role


class PriceInForce(TypedDict):
    """An organization's price for a course at a time."""

    course: str
    """The course, by its code."""
    organization: str
    """The organization that pays, by name."""
    price: Amount
    """What one redemption costs."""
    currency: str
    """The price's currency, by its ISO 4217 code."""


class PriceShape(Beginning):
    """A price of a course's redemptions from an instant on."""

    id: Id
    """The price's id."""
    course: str
    """The course, by its code."""
    organization: str | None
    """The organization whose price it is (and its descendants'); null for the list price."""
    price: Amount
    """What one redemption costs."""
    currency: str
    """The price's currency, by its ISO 4217 code."""
    until: datetime | None
    """When it ends, if it was withdrawn: the first instant at which it does not hold; else null."""
    in_force: bool
    """Whether it is in force now for its organization, or for all."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which prices."""

    course: str | None = by("One course's.", longest=64)
    organization: str | None = by("One organization's own.")


ALL = Filters()

# Whether anything was charged in the time that a price just written covers.
CHARGED = text("""
    SELECT EXISTS (
        SELECT FROM pool
          JOIN charge ON charge.pool_id = pool.id AND charge.occurred_at >= :valid_from
           AND charge.kind = 'redemption'
         CROSS JOIN LATERAL price_in_force(
               charge.course_id, charge.organization_id, charge.occurred_at) AS held
         WHERE pool.course_id = :course_id AND held.price_id = :price_id
           AND (CAST(:organization_id AS bigint) IS NULL
                OR pool.organization_id IN (SELECT descendant_id FROM organization_ancestry
                                             WHERE ancestor_id = :organization_id)))
""")

# Now, or just after what was charged while this transaction waited for the settlers' locks.
NOW = text("""
    SELECT greatest(clock_now(), max(charge.occurred_at) + interval '1 microsecond')
      FROM charge JOIN pool ON pool.id = charge.pool_id
     WHERE pool.course_id = :course_id AND charge.occurred_at >= clock_now()
""")

IN_FORCE = text("""
    SELECT amount, currency, price_id
      FROM price_in_force(:course_id, :organization_id, coalesce(:at, clock_now()))
""")


def set_price(
    session: Session,
    *,
    actor: Actor,
    course: str,
    price: str,
    organization: str | None = None,
    currency: str | None = None,
    from_: str | None = None,
) -> PriceShape:
    """Set a course's price from a time on (default: now); only the operator may.

    With an organization it holds for it and its descendants, else it is the list price. A price of 0
    makes the course free. A bare date is a day in the organization's time zone, UTC for a list
    price. The currency defaults to the organization's, or to the present list price's. Idempotent.

    Raises:
        InvalidInputError: the price, currency or date is malformed.
        PriceInThePastError: something was charged already in the time that it would cover.
    """
    actor.require()
    found = courses.find(session, name=course)
    owner = organizations.find(session, actor=actor, name=organization) if organization else None
    code = currency or (owner.currency if owner else _list_currency(session, found))
    amount = currencies.amount(session, price, currency_code=code)
    # A running settler has read the old prices; after waiting for it, CHARGED sees its charges.
    locks.await_settlers(session)
    row = {
        "course_id": found.id,
        "organization_id": owner and owner.id,
        "amount": amount,
        "currency": code.strip().upper(),
        "valid_from": _start(session, found.id, owner, from_),
    }
    if (price_id := _write(session, row)) is not None:
        _refuse_rewriting(session, row, price_id)
        written = session.get_one(Price, price_id, populate_existing=True)
        _remember(session, actor, "price set", written)
    return _shape(session.execute(_rows().where(_is(row))).one())


def withdraw(session: Session, *, actor: Actor, price: str, from_: str | None = None) -> PriceShape:
    """End an organization's price at a time (default: now); only the operator may.

    After that the nearest ancestor's price holds, or the list price. A bare date is a day in the
    organization's time zone. With a time before its start, the price never holds. Another time moves
    the end; idempotent.

    Raises:
        NotFoundError: there is no such price.
        ListPriceCannotEndError: it is a list price.
        InvalidInputError: the price was replaced before then; or the date is malformed.
        PriceInThePastError: something was charged already in the time that this would change.
    """
    actor.require()
    locks.await_settlers(session)
    found = lookup.find(session, Price, thing="price", name=price, lock=True)
    if found.organization_id is None:
        raise errors.ListPriceCannotEndError
    owner = session.get_one(Organization, found.organization_id)
    until = max(_start(session, found.course_id, owner, from_), found.valid_from)
    if until != found.valid_until:
        _end(session, found, until)
        _refuse_when_replaced(session, found, until)
        _remember(session, actor, "price withdrawn", found, until=until.isoformat())
    return _shape(session.execute(_rows().where(Price.id == found.id)).one())


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[PriceShape]:
    """List the list prices and those of the actor's organizations, past ones included."""
    actor.require(Role.FINANCE, Role.ANALYST)
    statement = _rows().where(actor.sees(Price.organization_id) | Price.organization_id.is_(None))
    if filters.course:
        course = courses.find(session, name=filters.course)
        statement = statement.where(Price.course_id == course.id)
    if filters.organization:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        statement = statement.where(Price.organization_id == owner.id)
    return paged(session, statement, by=Price.id, shape=_shape, **page)


def in_force(
    session: Session, *, actor: Actor, course: str, organization: str, at: datetime | None = None
) -> PriceInForce | None:
    """Give an organization's price for a course at a time (default: now); None if there is none.

    Its own price, else the nearest ancestor's, else the list price (B1).
    """
    owner = organizations.find(session, actor=actor, name=organization)
    found = courses.find(session, name=course)
    row = session.execute(
        IN_FORCE, {"course_id": found.id, "organization_id": owner.id, "at": at}
    ).one_or_none()
    if row is None:
        return None
    return {
        "course": found.code,
        "organization": owner.name,
        "price": currencies.text(session, row.amount, row.currency),
        "currency": row.currency,
    }


def _start(
    session: Session, course_id: int, owner: Organization | None, from_: str | None
) -> datetime:
    if from_ is not None:
        return days.instant(from_, zone=owner.time_zone if owner else "UTC", field="from")
    start: datetime = session.execute(NOW, {"course_id": course_id}).scalar_one()
    return start


def _write(session: Session, row: Mapping[str, object]) -> int | None:
    """Insert or replace the price from that instant; None if the same is there already."""
    asked = insert(Price).values(**row)
    changed = or_(
        Price.amount != asked.excluded.amount,
        Price.currency != asked.excluded.currency,
        Price.valid_until.is_not(None),
    )
    return session.scalar(
        asked.on_conflict_do_update(
            constraint="price_changes_once_an_instant",
            set_={
                "amount": asked.excluded.amount,
                "currency": asked.excluded.currency,
                "valid_until": None,
            },
            where=changed,
        ).returning(Price.id)
    )


def _end(session: Session, price: Price, until: datetime) -> None:
    """Move a price's end, if nothing was charged between the old end and the new."""
    row = {
        "course_id": price.course_id,
        "organization_id": price.organization_id,
        "valid_from": min(until, price.valid_until or until),
    }
    _refuse_rewriting(session, row, price.id)  # what was charged at it
    price.valid_until = until
    session.flush()
    _refuse_rewriting(session, row, price.id)  # what was charged while it did not hold


def _refuse_when_replaced(session: Session, price: Price, until: datetime) -> None:
    before = {
        "course_id": price.course_id,
        "organization_id": price.organization_id,
        "at": until - datetime.resolution,
    }
    never = until == price.valid_from
    if not never and session.execute(IN_FORCE, before).one().price_id != price.id:
        raise errors.InvalidInputError(
            "Another price replaced this one before then; withdraw that one.", field="from"
        )


def _refuse_rewriting(session: Session, row: Mapping[str, object], price_id: int) -> None:
    if session.execute(CHARGED, {**row, "price_id": price_id}).scalar_one():
        raise errors.PriceInThePastError


def _list_currency(session: Session, course: Course) -> str:
    known = session.scalar(
        select(Price.currency)
        .where(Price.course_id == course.id, Price.organization_id.is_(None))
        .order_by(Price.valid_from.desc())
        .limit(1)
    )
    if known is None:
        raise errors.InvalidInputError("Give the list price's currency.", field="currency")
    return known


def _rows() -> Select[Any]:
    held = courses.price_in_force(Price.course_id, Price.organization_id)
    return (
        select(
            Price,
            Course.code.label("course"),
            Organization.name.label("organization"),
            func.minor_unit(Price.currency).label("minor_unit"),
            exists().where(held.c.price_id == Price.id).label("in_force"),
        )
        .join(Course, Course.id == Price.course_id)
        .join(Organization, Organization.id == Price.organization_id, isouter=True)
    )


def _is(row: Mapping[str, object]) -> Any:
    return and_(
        Price.course_id == row["course_id"],
        Price.organization_id.is_not_distinct_from(row["organization_id"]),
        Price.valid_from == row["valid_from"],
    )


def _shape(row: Selected) -> PriceShape:
    return {
        "id": str(row.Price.id),
        "course": row.course,
        "organization": row.organization,
        "price": f"{row.Price.amount:.{row.minor_unit}f}",
        "currency": row.Price.currency,
        "from": row.Price.valid_from,
        "until": row.Price.valid_until,
        "in_force": row.in_force,
    }


def _remember(session: Session, actor: Actor, action: str, price: Price, **when: str) -> None:
    history.remember(
        session,
        actor,
        action,
        price,
        price=str(price.amount),
        currency=price.currency,
        valid_from=price.valid_from.isoformat(),
        **when,
    )
