"""Names, ids and labels: one way to find the thing that a person means."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import Field
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from worker import errors
from worker.tables.columns import Base

T = TypeVar("T", bound=Base)
E = TypeVar("E", bound=StrEnum)

BIGGEST_ID = 2**63 - 1

# An id as it is given out.
Id = Annotated[str, Field(pattern="^[0-9]{1,19}$")]


def find(
    session: Session,
    model: type[T],
    *,
    thing: str,
    name: str,
    named: ColumnElement[bool] | None = None,
    within: Sequence[ColumnElement[bool]] = (),
    identity: Any = None,
) -> T:
    """Find the one row that an id or a name means, among those that the caller may see.

    A name wins over an id, so that a thing named “12” can be reached by its name.

    Raises:
        NotFoundError: nothing in sight is called so; a foreign thing reads the same.
        AmbiguousError: the name fits several things.
    """
    identity = model.id if identity is None else identity  # type: ignore[attr-defined]
    by_id = identity == int(name) if is_id(name) else None
    wanted = [condition for condition in (named, by_id) if condition is not None]
    rows = session.scalars(select(model).where(or_(*wanted), *within)).all() if wanted else []
    if len(rows) > 1 and named is not None:
        rows = session.scalars(select(model).where(named, *within)).all() or rows
    if not rows:
        raise errors.NotFoundError(
            f"There is no {thing} “{name}” in your organizations.", thing=thing
        )
    if len(rows) > 1:
        raise errors.AmbiguousError(thing, name, sorted(row.id for row in rows))  # type: ignore[attr-defined]
    return rows[0]


def label(kind: type[E], value: str, *, field: str) -> E:
    """Find the label that a word means, of those that a field may have.

    Raises:
        InvalidInputError: it is none of them.
    """
    try:
        return kind(value)
    except ValueError:
        known, a = ", ".join(kind), "an" if field[0] in "aeiou" else "a"
        raise errors.InvalidInputError(
            f"“{value}” is not {a} {field}; one of {known}.", field=field
        ) from None


def is_id(name: str) -> bool:
    """Say whether a name could be an id: ASCII digits that fit a bigint."""
    return name.isascii() and name.isdecimal() and int(name) <= BIGGEST_ID
