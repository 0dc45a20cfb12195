"""Courses: code, title, list price, archived or not."""

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NotRequired, Unpack, cast

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
    select,
    true,
)
from sqlalchemy.orm import QueryableAttribute, Session
from typing_extensions import TypedDict

from worker import errors
from worker.catalogue import launching
from worker.database import lookup
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.database.searching import spoken
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
    launch_url: str | None
    """Where learners open it; null where keypool has no link to it."""


class CourseInClear(CourseShape):
    """A course, with the secret of its launch links where one was made."""

    launch_secret: NotRequired[str]
    """The secret, shown this once."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which courses."""

    sorts = MappingProxyType({"code": func.lower(Course.code)})
    sorting = "code: from A to Z, as it is unless another is asked for."

    search: str | None = by(
        "Pieces of the code or title, in any order and letter case.", typed="search"
    )


ALL = Filters()

# The first list price holds for all the past, because an event may be older than its course (B1).
FROM_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def add(
    session: Session,
    *,
    actor: Actor,
    code: str,
    title: str,
    price: str,
    currency: str,
    launch_url: str = "",
) -> CourseInClear:
    """Add a course with its list price, which also holds for the past; only the operator may.

    With a launch URL it also gives the secret that signs the links to it.

    Raises:
        AlreadyExistsError: the code is taken, regardless of case.
        InvalidInputError: the price does not fit the currency, or the launch URL is none.
    """
    actor.require()
    amount = currencies.amount(session, price, currency_code=currency)
    course = Course(code=code.strip(), title=title.strip())
    secret = _launch_at(course, launch_url)
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
    return _in_clear(session, course, secret)


def edit(
    session: Session,
    *,
    actor: Actor,
    course: str | Course,
    title: str | None = None,
    launch_url: str | None = None,
    new_launch_secret: bool = False,
) -> CourseInClear:
    """Change a course's title or launch URL; an empty URL removes it.

    The first launch URL makes the secret that signs the links, and `new_launch_secret` another: it is
    given this once. A new list price is `prices.set_price` without an organization.

    Raises:
        InvalidInputError: a value is wrong, or there is no launch URL to sign links to.
    """
    actor.require()
    found = find(session, name=course, lock=True)
    if title is not None:
        found.title = title.strip()
    secret = _launch_at(found, found.launch_url if launch_url is None else launch_url)
    if new_launch_secret and not secret:
        secret = _new_secret(found)
    session.flush()
    if title is not None or launch_url is not None or secret:
        made = {"launch_secret": "new"} if secret else {}
        changed = {"title": found.title, "launch_url": found.launch_url}
        _remember(session, actor, "course edited", found, **changed, **made)
    return _in_clear(session, found, secret)


def archive(session: Session, *, actor: Actor, course: str | Course) -> CourseShape:
    """Archive a course: its pools' keys stop working, live assignments continue; idempotent."""
    actor.require()
    found = find(session, name=course, lock=True)
    if found.archived_at is None:
        found.archived_at = func.clock_now()
        session.flush()
        _remember(session, actor, "course archived", found)
    return show(session, found)


def listing(
    session: Session, *, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[CourseShape]:
    """List courses by code, a page at a time."""
    chosen = spoken(filters.search, Course.code, Course.title)
    found = select(Course.id).where(*chosen)
    page["sort"] = page.get("sort") or "code"
    return paged(
        session, _rows(), by=Course.id, shape=_shape, sorts=Filters.sorts, found=found, **page
    )


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


def _launch_at(course: Course, url: str) -> str | None:
    """Set a course's launch URL; gives the secret that it needs, where it has none yet."""
    course.launch_url = url.strip()
    return (
        _new_secret(course)
        if course.launch_url and course.launch_secret_encrypted is None
        else None
    )


def _new_secret(course: Course) -> str:
    if not course.launch_url:
        raise errors.InvalidInputError(
            "The course has no launch URL, so there is nothing to sign.", field="new_launch_secret"
        )
    course.launch_secret_encrypted, secret = launching.make_secret()
    return secret


def _in_clear(session: Session, course: Course, secret: str | None) -> CourseInClear:
    shown = show(session, course)
    return {**shown, "launch_secret": secret} if secret else cast(CourseInClear, shown)


def _shape(row: Selected) -> CourseShape:
    course: Course = row.Course
    return {
        "id": str(course.id),
        "code": course.code,
        "title": course.title,
        "price": None if row.amount is None else f"{row.amount:.{row.decimals}f}",
        "currency": row.currency,
        "archived": course.archived_at is not None,
        "launch_url": course.launch_url or None,
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
