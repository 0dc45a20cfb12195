"""A list's query parameters, made from the noun's filters (`worker.database.filters`)."""

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model

from webhook.http.instants import Instant
from webhook.http.shapes import Taken
from worker import days, errors
from worker.database.filters import Criterion, ListFilters, criteria, ordering, orders
from worker.database.lookup import BIGGEST_ID
from worker.database.paging import Paging

F = TypeVar("F", bound=ListFilters)
Q = TypeVar("Q", bound=Taken)


def _days(value: object) -> timedelta:
    try:
        return days.ahead(str(value), field="")
    except errors.InvalidInputError as error:
        raise ValueError(str(error)) from None


WHOLE_DAYS = {"type": "integer", "minimum": 0, "maximum": days.MAX_DAYS_AHEAD}
FIELD_TYPES: dict[type, Any] = {
    datetime: Instant,
    timedelta: Annotated[timedelta, BeforeValidator(_days), WithJsonSchema(WHOLE_DAYS)],
    int: Annotated[int, Field(ge=0, le=BIGGEST_ID)],
}


class Choice(Taken, Generic[F]):
    """The filters of a list."""

    made_of: ClassVar[type[ListFilters]]

    @property
    def filters(self) -> F:
        """The filters as the domain takes them."""
        values = {one.name: getattr(self, one.name) for one in fields(self.made_of)}
        return self.made_of(**values)  # type: ignore[return-value]  # that is F


class Query(Choice[F], Generic[F]):
    """The filters, the sort and the page of a list."""

    sort: str | None = None
    cursor: str | None = Field(None, description="`next` of the page before.", max_length=2000)
    limit: int = Field(100, ge=1, le=1000, description="How many things the page has at most.")

    @property
    def page(self) -> Paging:
        """The page as the domain takes it."""
        return {"sort": self.sort, "after": self.cursor, "limit": self.limit}


def choice(filters: type[F]) -> type[Choice[F]]:
    """Make the query of a list without pages from its filters."""
    return cast(type[Choice[F]], _made(Choice, filters))


def query(filters: type[F]) -> type[Query[F]]:
    """Make a list's query from its filters."""
    return cast(type[Query[F]], _made(Query, filters))


def of(filters: type[ListFilters]) -> Any:
    """Class decorator: add a list's filters to a query with fields of its own."""
    return lambda base: _made(base, filters)


def _made(base: Any, filters: type[ListFilters]) -> Any:
    read: dict[str, Any] = {one.name: _field(one) for one in criteria(filters)}
    if issubclass(base, Query):
        read["sort"] = (_one_of(orders(filters)), Field(None, description=ordering(filters)))
    made = create_model("Query", __base__=base, __doc__=filters.__doc__, **read)
    made.made_of = filters
    return made


def _one_of(names: list[str]) -> Any:
    literal: Any = Literal
    return literal[tuple(names)] | None


def _field(one: Criterion) -> tuple[Any, Any]:
    kind = FIELD_TYPES.get(one.kind, one.kind)
    longest = one.longest if one.kind is str else None
    declared = Field(one.default, description=one.words, max_length=longest)
    return (kind if one.default is not None else kind | None, declared)
