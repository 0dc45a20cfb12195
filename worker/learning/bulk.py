"""Extending or cancelling many assignments at once: named ones, or those that a list's filters choose.

Each has its own result: one that is refused gives its reason and does not affect the others.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database.paging import Page, paged
from worker.learning import assignments, cancelling, extending
from worker.learning.assignments import AssignmentShown, Filters
from worker.tables.labels import AssignmentStatus
from worker.tables.learning import Assignment
from worker.tenancy.actors import Actor, Role

T = TypeVar("T")

AT_ONCE = 500  # assignments per transaction, which locks their rows
NONE = assignments.ALL


class ChangedAssignment(TypedDict):
    """The result for one of many assignments."""

    assignment: str
    """The assignment, as it was named in the request."""
    result: Literal["extended", "cancelled", "refused"]
    """What was done to it."""
    code: str | None
    """Why it was refused, as a stable code."""
    reason: str | None
    """Why it was refused, in words."""
    expires_at: datetime | None
    """When its access ends, or ended; null where it was refused."""


def change(
    session: Session,
    *,
    act: Callable[..., AssignmentShown],
    done: Literal["extended", "cancelled"],
    actor: Actor,
    ids: Sequence[str] = (),
    filters: Filters = NONE,
    after: str | None = None,
    limit: int = AT_ONCE,
    **how: Any,
) -> Page[ChangedAssignment]:
    """Apply `act` to the assignments with these ids, or to a page of those that `filters` selects
    and that are not cancelled.

    Gives each one's result; `done` is that of those that were not refused. `how` are further
    arguments of `act`.

    Raises:
        InvalidInputError: nothing is selected, both ids and filters are given, or more than 500 at once.
    """
    actor.require(Role.MANAGER)
    if (filters != NONE) == bool(ids):
        raise errors.InvalidInputError(
            "Name assignments, or give filters, such as a pool or how soon they end: one of both.",
            field="assignments",
        )
    if limit > AT_ONCE or len(ids) > AT_ONCE:
        raise errors.InvalidInputError(f"Up to {AT_ONCE} assignments are changed at once.")
    result = partial(_result, session, partial(act, session, actor=actor, **how), done)
    if ids:
        # Always in the same order, so that two transactions do not deadlock.
        return Page([result(named) for named in sorted(set(ids), key=_order)], None)
    statement = _chosen(session, actor, filters)
    return paged(
        session,
        statement,
        by=Assignment.id,
        after=after,
        limit=limit,
        shape=lambda row: result(str(row.id)),
    )


extend = partial(change, act=extending.extend, done="extended")
cancel = partial(change, act=cancelling.cancel, done="cancelled")


def _order(named: str) -> tuple[int, str]:
    return len(named), named


def attempt(session: Session, act: Callable[[], T]) -> T | errors.KeypoolError:
    """Do one of many acts, in a savepoint; gives the error where it is refused."""
    try:
        with session.begin_nested():
            return act()
    except errors.DatabaseAwayError:
        raise
    except errors.KeypoolError as error:
        return error


def _chosen(session: Session, actor: Actor, filters: Filters) -> Select[Any]:
    chosen = assignments.selected(session, actor=actor, filters=filters)
    return chosen.where(Assignment.status != AssignmentStatus.CANCELLED)


def _result(
    session: Session,
    act: Callable[..., AssignmentShown],
    done: Literal["extended", "cancelled"],
    named: str,
) -> ChangedAssignment:
    result: ChangedAssignment = {
        "assignment": named,
        "result": done,
        "code": None,
        "reason": None,
        "expires_at": None,
    }
    changed = attempt(session, partial(act, assignment=named))
    if isinstance(changed, errors.KeypoolError):
        return {**result, "result": "refused", "code": changed.code, "reason": str(changed)}
    return {**result, "expires_at": changed["expires_at"]}
