"""Courses: code, title, list price, archived or not."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Numeric,
    Select,
    TableValuedAlias,
    Text,
    column,
    func,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.orm import QueryableAttribute, Session
from typing_extensions import TypedDict

from worker.database import lookup
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Selected
from worker.money import Amount
from worker.tables.catalogue import Course, Price
from worker.tenancy import currencies, history
from worker.tenancy.actors import Actor


class CourseShape(TypedDict):
    """A course with its list price."""

    id: Id
    """The course's id."""
    code: str
    """The code; unique, regardless of case."""
    title: str
    """The title."""
    price: Amount | None
    """The list price in force now."""
    currency: str | None
    """The price's currency, as its ISO 4217 code."""
    archived: bool
    """Whether it is archived: its pools' keys cannot be redeemed any more."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which courses."""

    search: str | None = by("A piece of the code or title, in any letter case.")


ALL = Filters()

# The first list price holds for all the past, because an event may be older than its course (B1).
FROM_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def add(
    session: Session, *, actor: Actor, code: str, title: str, price: str, currency: str
) -> CourseShape:
    """Add a course with its list price, which also holds for the past; only the operator may.

    Raises:
        AlreadyExistsError: the code is taken, regardless of case.
        InvalidInputError: the price does not fit the currency.
    """
    actor.require()
    amount = currencies.amount(session, price, currency_code=currency)
    course = Course(code=code.strip(), title=title.strip())
    session.add(course)
    session.flush()
    session.add(
        Price(
            course_id=course.id,
            amount=amount,
            currency=currency.upper(),
            valid_from=FROM_EVER,
        )
    )
    session.flush()
    _remember(session, actor, "course added", course, price=str(amount), currency=currency.upper())
    return show(session, course)


def edit(
    session: Session, *, actor: Actor, course: str | Course, title: str | None = None
) -> CourseShape:
    """Change a course's title. A new list price is `prices.set_price` without an organization."""
    actor.require()
    found = find(session, name=course, lock=True)
    if title is not None:
        found.title = title.strip()
        session.flush()
        _remember(session, actor, "course edited", found, title=found.title)
    return show(session, found)


def archive(session: Session, *, actor: Actor, course: str | Course) -> CourseShape:
    """Archive a course: its pools' keys stop working, live assignments continue; idempotent."""
    actor.require()
    found = find(session, name=course, lock=True)
    if found.archived_at is None:
        found.archived_at = func.clock_now()
        session.flush()
        _remember(session, actor, "course archived", found)
    return show(session, found)


def listing(session: Session, *, filters: Filters = ALL) -> list[CourseShape]:
    """List courses by code."""
    statement = _rows().order_by(Course.code)
    if filters.search:
        statement = statement.where(
            or_(
                Course.code.icontains(filters.search, autoescape=True),
                Course.title.icontains(filters.search, autoescape=True),
            )
        )
    return [_shape(row) for row in session.execute(statement)]


def find(session: Session, *, name: str | Course, lock: bool = False) -> Course:
    """Find a course by code (regardless of case) or id; every actor may see every course.

    It also takes a course that was found before, and `lock`, as `lookup.find` does.
    """
    return lookup.find(
        session,
        Course,
        thing="course",
        name=name,
        named=func.lower(Course.code),
        folded=True,
        lock=lock,
    )


def show(session: Session, course: Course) -> CourseShape:
    """Give a course's public fields with the list price in force now."""
    return _shape(session.execute(_rows().where(Course.id == course.id)).one())


def price_in_force(
    course_id: ColumnElement[int] | QueryableAttribute[int],
    organization_id: ColumnElement[Any] | QueryableAttribute[Any],
) -> TableValuedAlias:
    """Select the price in force now (B1) for an organization, or the list price if None.

    Gives `amount, currency, price_id`, or no row; a function of schema.sql decides.
    """
    price = func.price_in_force(course_id, organization_id, func.clock_now())
    columns = (column("amount", Numeric), column("currency", Text), column("price_id", BigInteger))
    return price.table_valued(*columns, name="in_force")


def _rows() -> Select[Any]:
    price = price_in_force(Course.id, null())
    columns: list[Any] = [price.c.amount, price.c.currency]
    decimals = func.minor_unit(price.c.currency).label("decimals")
    return select(Course, *columns, decimals).join(price, true(), isouter=True)


def _shape(row: Selected) -> CourseShape:
    course: Course = row.Course
    return {
        "id": str(course.id),
        "code": course.code,
        "title": course.title,
        "price": None if row.amount is None else f"{row.amount:.{row.decimals}f}",
        "currency": row.currency,
        "archived": course.archived_at is not None,
    }


def _remember(
    session: Session, actor: Actor, action: str, course: Course, **detail: object
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="course",
        thing_ids=course.id,
        organization_id=None,
        code=course.code,
        **detail,
    )
