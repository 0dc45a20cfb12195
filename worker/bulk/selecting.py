"""Selections: rows of a list, named by id or chosen by the list's filters."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, BigInteger, Select, func, literal, select
from sqlalchemy.orm import Session

from worker import errors
from worker.database import lookup, paging
from worker.learning import assignments
from worker.pools import keys, pools
from worker.tables.learning import Assignment
from worker.tables.pools import Key
from worker.tenancy.actors import Actor

MOST_NAMED = 10_000  # ids; more are chosen by filters


@dataclass(frozen=True)
class Assignments:
    """Assignments of some ids, or all that the list's filters choose when the act is asked for."""

    ids: tuple[int, ...] = ()
    filters: assignments.Filters = assignments.ALL

    def seen(self, session: Session, actor: Actor) -> Select[int]:
        """Select the ids of those that are selected and in the actor's organizations."""
        rows = assignments.selected(session, actor=actor, filters=self.filters)
        return rows.where(Assignment.id.in_(self.ids)) if self.ids else rows


@dataclass(frozen=True)
class Keys:
    """Keys of a pool, likewise."""

    pool: str
    ids: tuple[int, ...] = ()
    filters: keys.Filters = keys.ALL

    def seen(self, session: Session, actor: Actor) -> Select[int]:
        """Select the ids of those that are selected and in the pool, which the actor must see."""
        pool = pools.find(session, actor=actor, pool=self.pool)
        rows = select(Key.id).where(*keys.chosen(session, pool, self.filters))
        return rows.where(Key.id.in_(self.ids)) if self.ids else rows


Selection = Assignments | Keys


def named(ids: Sequence[str]) -> tuple[int, ...]:
    """Read the ids of rows, each once and in order.

    Raises:
        InvalidInputError: there are none or too many, or one is no id.
    """
    if not 1 <= len(ids) <= MOST_NAMED:
        raise errors.InvalidInputError(
            f"Select 1 to {MOST_NAMED:,} rows, or all that fit.", field="id"
        )
    if wrong := [id_ for id_ in ids if not lookup.is_id(id_)]:
        raise errors.InvalidInputError(f"“{wrong[0]}” is no id.", field="id")
    return tuple(sorted(set(map(int, ids))))


def asked(session: Session, actor: Actor, selection: Selection) -> Select[int]:
    """Select the ids of what is selected, whether or not there are such rows."""
    if not selection.ids:
        return selection.seen(session, actor)
    return select(func.unnest(literal(list(selection.ids), ARRAY(BigInteger))).label("id"))


def count(session: Session, *, actor: Actor, selection: Selection) -> int:
    """Count what is selected.

    Raises:
        NotFoundError: none of it is in the actor's organizations.
    """
    there = paging.total(session, selection.seen(session, actor))
    if not there:
        raise errors.NotFoundError("Nothing of what is selected is in your organizations.")
    return len(selection.ids) or there
