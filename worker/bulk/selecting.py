"""Selections: rows of a list, named by id or chosen by the list's filters."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, BigInteger, Select, func, literal, select
from sqlalchemy.orm import Session

from worker import errors
from worker.database import lookup, paging
from worker.learning import assignments
from worker.tables.learning import Assignment
from worker.tenancy.actors import Actor

MOST_NAMED = 10_000  # ids; more are chosen by filters


@dataclass(frozen=True)
class Selection:
    """Assignments of some ids, or all that a list's filters choose when the act is asked for."""

    ids: tuple[int, ...] = ()
    filters: assignments.Filters = assignments.ALL


def named(ids: Sequence[str]) -> Selection:
    """Select rows by id, each once.

    Raises:
        InvalidInputError: there are none or too many, or one is no id.
    """
    if not 1 <= len(ids) <= MOST_NAMED:
        raise errors.InvalidInputError(
            f"Select 1 to {MOST_NAMED:,} rows, or all that fit.", field="id"
        )
    if wrong := next((id_ for id_ in ids if not lookup.is_id(id_)), None):
        raise errors.InvalidInputError(f"“{wrong}” is no id.", field="id")
    return Selection(tuple(sorted(set(map(int, ids)))))


def seen(session: Session, actor: Actor, selection: Selection) -> Select[int]:
    """Select the ids of what is selected and in the actor's organizations."""
    rows = assignments.selected(session, actor=actor, filters=selection.filters)
    return rows.where(Assignment.id.in_(selection.ids)) if selection.ids else rows


def asked(session: Session, actor: Actor, selection: Selection) -> Select[int]:
    """Select the ids of what is selected, whether or not there are such rows."""
    if not selection.ids:
        return seen(session, actor, selection)
    ids = literal(list(selection.ids), ARRAY(BigInteger))
    return select(func.unnest(ids).label("id"))


def count(session: Session, *, actor: Actor, selection: Selection) -> int:
    """Count what is selected.

    Raises:
        NotFoundError: none of it is in the actor's organizations.
    """
    there = paging.total(session, seen(session, actor, selection))
    if not there:
        raise errors.NotFoundError("Nothing of what is selected is in your organizations.")
    return len(selection.ids) or there
