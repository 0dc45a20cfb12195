"""Finding what a person names: rows by name or id, labels of enumerations."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import Field
from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import QueryableAttribute, Session

from worker import errors
from worker.tables.columns import Base

T = TypeVar("T", bound=Base)
S = TypeVar("S", bound=Select[Any])
E = TypeVar("E", bound=StrEnum)

BIGGEST_ID = 2**63 - 1

# An id as it is given out.
Id = Annotated[str, Field(pattern="^[0-9]{1,19}$")]


def find(
    session: Session,
    model: type[T],
    *,
    thing: str,
    name: str | T,
    named: ColumnElement[Any] | QueryableAttribute[Any] | None = None,
    folded: bool = False,
    within: Sequence[ColumnElement[bool]] = (),
    lock: bool = False,
) -> T:
    """Find the row with an id or a name, among those that the caller may see.

    The name is compared with the column `named`, ignoring case if that is `folded`. A name wins over an
    id, so that a thing named “12” can be found by its name. A row that was found before is returned as
    it is. With `lock`, the row is locked and read after the lock is held.

    Raises:
        NotFoundError: no visible row has the name; another tenant's row gives the same error.
        AmbiguousError: the name fits several things.
    """
    if isinstance(name, model):
        return name
    called = str(name)
    by_id = model.id == int(called) if is_id(called) else None  # type: ignore[attr-defined]
    spoken = called.strip().lower() if folded else called.strip()
    by_name = None if named is None else named == spoken
    meant = [condition for condition in (by_name, by_id) if condition is not None]
    seen = select(model).where(*within)
    statement = locked(seen, of=model) if lock else seen
    rows = session.scalars(statement.where(or_(*meant))).all() if meant else []
    if len(rows) > 1 and by_name is not None:
        rows = session.scalars(statement.where(by_name)).all() or rows
    if not rows:
        raise errors.NotFoundError(
            f"There is no {thing} “{called}” in your organizations.", thing=thing
        )
    if len(rows) > 1:
        raise errors.AmbiguousError(thing, called, sorted(row.id for row in rows))  # type: ignore[attr-defined]
    return rows[0]


def locked(statement: S, *, of: type[Base], alone: bool = False) -> S:
    """Lock the selected rows against other writers, until the transaction ends.

    After waiting for another writer, it reads what that one wrote. With `alone`, the lock also excludes
    transactions that insert rows with a foreign key to these.
    """
    held = statement.with_for_update(key_share=not alone, of=of)
    return held.execution_options(populate_existing=True)


def label(kind: type[E], value: str, *, field: str, thing: str | None = None) -> E:
    """Find the label with a given name in an enumeration; `thing` is what it is, if not as its field.

    Raises:
        InvalidInputError: there is no such label.
    """
    try:
        return kind(value)
    except ValueError:
        called = thing or field
        known, a = ", ".join(kind), "an" if called[0] in "aeiou" else "a"
        raise errors.InvalidInputError(
            f"“{value}” is not {a} {called}; one of {known}.", field=field
        ) from None


def is_id(name: str) -> bool:
    """Say whether a name could be an id: ASCII digits that fit a bigint."""
    return name.isascii() and name.isdecimal() and int(name) <= BIGGEST_ID
