"""A thing's version: by it one tells whether somebody changed the thing since it was read."""

import hashlib
from collections.abc import Sequence

from sqlalchemy import Text, cast, inspect, literal_column, select
from sqlalchemy.orm import Session

from worker.tables.columns import Base


def of(session: Session, things: Sequence[Base]) -> str:
    """Give the version of rows taken together: it is another one after every write to any of them.

    PostgreSQL says who wrote a row last: `xmin`, which is no one's twice within billions of
    transactions. A figure or state that is kept elsewhere, or follows from the clock, changes nothing.
    """
    written = " ".join(_written(session, thing) for thing in things)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def hold(session: Session, things: Sequence[Base]) -> None:
    """Lock rows against other writers until the transaction ends, and see them as they are by then."""
    for thing in things:
        session.refresh(thing, with_for_update={"key_share": True})


def _written(session: Session, thing: Base) -> str:
    mapper = inspect(type(thing))
    own = [c == v for c, v in zip(mapper.primary_key, inspect(thing).identity or (), strict=True)]
    table = mapper.local_table
    asked = select(cast(literal_column("xmin"), Text)).select_from(table).where(*own)
    return str(session.execute(asked).scalar_one())
