"""Cursor paging: rows added meanwhile do not shift the pages."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import ColumnElement, Row, Select, SQLColumnExpression, func, select, tuple_
from sqlalchemy.orm import QueryableAttribute, Session
from typing_extensions import TypedDict

from worker import errors
from worker.database.filters import MADE, NO_SORTS, Sorts

T = TypeVar("T")
U = TypeVar("U")

# A row of a statement: its columns are read by their names.
Selected = Row[*tuple[Any, ...]]

LARGEST_PAGE = 1000
ID = re.compile("[0-9]{1,19}")
BAD_CURSOR = "The cursor is not one that this list gave, sorted so; start without it."


@dataclass(frozen=True)
class Page(Generic[T]):
    """A page of a list."""

    items: list[T]
    """The page's items, in the list's order."""
    next: str | None
    """The cursor of the next page; null on the last."""

    def carrying(self, items: list[U]) -> "Page[U]":
        """Give the same page with other items."""
        return cast("Page[U]", replace(self, items=cast(Any, items)))


@dataclass(frozen=True)
class Turned(Page[T]):
    """A page that can be turned back, with how many rows its list has."""

    previous: str | None
    """The cursor of the page before, for `before`; null on the first."""
    total: int
    """How many rows all pages have; one more than `most` if they are more."""
    most: int
    """Up to where they were counted."""


class Paging(TypedDict, total=False):
    """Which page of a list is wanted; by default the first hundred rows.

    It is the one after a cursor, or the one before it. With `counted` it is a `Turned` one.
    """

    sort: str | None
    after: str | None
    before: str | None
    limit: int
    counted: int | None


@dataclass(frozen=True)
class Order:
    """How a list is sorted: by its unique id, or by a column without nulls and then by the id."""

    by: SQLColumnExpression[int]
    descending: bool
    name: str = MADE
    column: QueryableAttribute[Any] | ColumnElement[Any] | None = None

    def columns(self) -> list[SQLColumnExpression[Any]]:
        """Give the columns that the list is sorted by, in order."""
        return [self.by] if self.column is None else [self.column, self.by]

    def turned(self) -> "Order":
        """Give the same order the other way round."""
        return replace(self, descending=not self.descending)

    def after(self, statement: Select[Any], cursor: str) -> Select[Any]:
        """Restrict a query to the rows after a cursor."""
        here, there = tuple_(*self.columns()), tuple_(*self.place(cursor))
        return statement.where(here < there if self.descending else here > there)

    def sorted(self, statement: Select[Any]) -> Select[Any]:
        """Sort a query, and add the sort columns to its rows."""
        places: list[ColumnElement[Any]] = [
            column.label(f"place_{n}") for n, column in enumerate(self.columns())
        ]
        ordered = (column.desc() if self.descending else column for column in self.columns())
        return statement.add_columns(*places).order_by(*ordered)

    def cursor(self, row: Selected) -> str:
        """Make the cursor that continues after a row; opaque, so that clients do not rely on its contents."""
        if self.column is None:
            return _packed(f"after {row.place_0}")
        value = row.place_0.isoformat() if isinstance(row.place_0, date) else row.place_0
        return _packed(f"{self.name} {row.place_1} {value}")

    def place(self, cursor: str) -> list[Any]:
        """Read a cursor; InvalidInputError if it was not made by this order."""
        try:
            word, number, *value = _unpacked(cursor).split(" ", 2)
            if word != ("after" if self.column is None else self.name):
                raise ValueError(word)
            if (
                not ID.fullmatch(number)
                or int(number) >= 2**63
                or len(value) != len(self.columns()) - 1
            ):
                raise ValueError(number)
            read = [] if self.column is None else [_read(self.column.type.python_type, value[0])]
        except (ValueError, binascii.Error, InvalidOperation):
            raise errors.InvalidInputError(BAD_CURSOR, field="cursor") from None
        return [*read, int(number)]


def paged(
    session: Session,
    statement: Select[Any],
    *,
    by: SQLColumnExpression[int],
    shape: Callable[[Selected], T],
    newest_first: bool = False,
    sorts: Sorts = NO_SORTS,
    found: Select[Any] | None = None,
    sort: str | None = None,
    after: str | None = None,
    before: str | None = None,
    limit: int = 100,
    counted: int | None = None,
) -> Page[T]:
    """Read the page of a query after or before a cursor, ordered by a unique id.

    `sort` is `made` or one of `sorts`, with a leading minus for descending order. The default is the
    order of creation, descending with `newest_first`. With `counted` the page says how many rows there
    are, counted up to that. Where a query joins much, it has no conditions, and `found` selects the ids of
    the rows that are wanted: it finds the page's rows and counts them, and only those few are joined.

    Raises:
        InvalidInputError: the cursor is invalid, the limit is not in 1 to 1000, or there is no such
            sort.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise errors.InvalidInputError(f"A page has 1 to {LARGEST_PAGE} items.", field="limit")
    order = _order(by, sort or ("-" if newest_first else "") + MADE, sorts)
    light = statement if found is None else found.order_by(None)
    rows, is_first, is_last = _rows(session, light, order, after, before, limit)
    whole = rows if found is None else _whole(session, statement, order, rows)
    items = [shape(row) for row in whole]
    next_ = order.cursor(rows[-1]) if rows and not is_last else None
    if counted is None:
        return Page(items, next_)
    previous = order.cursor(rows[0]) if rows and not is_first else None
    if is_first and is_last:
        return Turned(items, next_, previous, min(len(rows), counted + 1), counted)
    rest = statement.with_only_columns(by, maintain_column_froms=True) if found is None else found
    return Turned(items, next_, previous, total(session, rest, counted), counted)


def _whole(
    session: Session, statement: Select[Any], order: Order, rows: Sequence[Selected]
) -> Sequence[Selected]:
    """Read the rows of a page that was found, in its order; without those that meanwhile fit no more."""
    ids = [row[-1] for row in rows]  # the order's last column
    return session.execute(order.sorted(statement.where(order.by.in_(ids)))).all()


def _rows(
    session: Session,
    statement: Select[Any],
    order: Order,
    after: str | None,
    before: str | None,
    limit: int,
) -> tuple[Sequence[Selected], bool, bool]:
    """Read a page's rows in order, and say whether they are the first and the last."""
    reading, cursor = (order, after) if before is None else (order.turned(), before)
    asked = statement if cursor is None else reading.after(statement, cursor)
    rows = session.execute(reading.sorted(asked).limit(limit + 1)).all()
    is_end = len(rows) <= limit
    if before is None:
        return rows[:limit], after is None, is_end
    return rows[limit - 1 :: -1] if not is_end else rows[::-1], is_end, False


def total(session: Session, statement: Select[Any], most: int | None = None) -> int:
    """Count the rows that a list's query selects, on all its pages.

    With `most` it stops there: if there are more, it gives one more than that.
    """
    counted = statement if most is None else statement.limit(most + 1)
    return session.scalar(select(func.count()).select_from(counted.subquery())) or 0


def within(
    column: QueryableAttribute[datetime], since: datetime | None, until: datetime | None
) -> list[ColumnElement[bool]]:
    """Give the conditions that a time is in a half-open range; None leaves an end open."""
    ends = ((since, column.__ge__), (until, column.__lt__))
    return [compare(end) for end, compare in ends if end is not None]


def _order(by: SQLColumnExpression[int], sort: str, sorts: Sorts) -> Order:
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    if name == MADE:
        return Order(by, descending)
    if name not in sorts:
        known = ", ".join([MADE, *sorts])
        raise errors.InvalidInputError(
            f"This list is sorted by one of {known}, with “-” before it for the other way round.",
            field="sort",
        )
    return Order(by, descending, name, sorts[name])


def _packed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(cursor: str) -> str:
    padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True).decode()


def _read(kind: type, value: str) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError(value)
        return moment
    if kind is date:
        return date.fromisoformat(value)
    if kind is Decimal:
        amount = Decimal(value)
        if not amount.is_finite():
            raise ValueError(value)
        return amount
    if "\0" in value:
        raise ValueError(value)
    return value
