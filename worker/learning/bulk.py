"""Many assignments extended or cancelled at once: named, or chosen by pool, learner or their end.

Each comes out for itself: one that is refused says why, and leaves the others as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database.paging import Page, paged
from worker.learning import assignments, cancelling, extending
from worker.learning.assignments import AssignmentShown
from worker.pools import pools
from worker.tables.labels import AssignmentStatus
from worker.tables.learning import Assignment, Learner
from worker.tenancy import addresses
from worker.tenancy.actors import Actor, Role

AT_ONCE = 500  # assignments in one transaction, whose rows are locked until it ends


class ChangedAssignment(TypedDict):
    """What became of one assignment among many."""

    assignment: str
    """The assignment, as it was named."""
    result: Literal["extended", "cancelled", "refused"]
    """What was done to it."""
    code: str | None
    """Why it was refused, as a stable code."""
    reason: str | None
    """Why it was refused, in words."""
    expires_at: datetime | None
    """When its access ends, or ended; null where it was refused."""


@dataclass(frozen=True)
class Selection:
    """Which assignments: those named by id, or those that every given condition holds for.

    `expiring_within` is met by live ones that end so soon; cancelled ones are never chosen.
    """

    ids: Sequence[str] = ()
    pool: str | None = None
    learner: str | None = None
    expiring_within: timedelta | None = None


def change(
    session: Session,
    *,
    act: Callable[..., AssignmentShown],
    done: Literal["extended", "cancelled"],
    actor: Actor,
    selection: Selection,
    after: str | None = None,
    limit: int = AT_ONCE,
    **how: Any,
) -> Page[ChangedAssignment]:
    """Do to a page of a selection what an act does to one assignment; gives each one's result.

    `done` is the result of those that were not refused. `how` is what the act takes besides.

    Raises:
        InvalidInputError: nothing is selected, both ids and conditions are given, or more than 500
            at once.
    """
    actor.require(Role.MANAGER)
    conditions = (selection.pool, selection.learner, selection.expiring_within)
    chosen = any(condition is not None for condition in conditions)
    if chosen == bool(selection.ids):
        raise errors.InvalidInputError(
            "Name assignments, or say of which pool or learner, or how soon they end: one of both.",
            field="assignments",
        )
    if limit > AT_ONCE or len(selection.ids) > AT_ONCE:
        raise errors.InvalidInputError(f"Up to {AT_ONCE} assignments are changed at once.")
    result = partial(_result, session, partial(act, session, actor=actor, **how), done)
    if selection.ids:
        # In one order, so that no two of us wait for each other.
        return Page([result(named) for named in sorted(set(selection.ids), key=_order)], None)
    wanted = _chosen(session, actor, selection)
    return paged(
        session,
        wanted,
        by=Assignment.id,
        after=after,
        limit=limit,
        shape=lambda row: result(str(row.id)),
    )


extend = partial(change, act=extending.extend, done="extended")
cancel = partial(change, act=cancelling.cancel, done="cancelled")


def _order(named: str) -> tuple[int, str]:
    return len(named), named


def _chosen(session: Session, actor: Actor, selection: Selection) -> Select[Any]:
    wanted = select(Assignment.id).where(
        actor.sees(Assignment.organization_id), Assignment.status != AssignmentStatus.CANCELLED
    )
    if selection.pool is not None:
        pool = pools.find(session, actor=actor, pool=selection.pool)
        wanted = wanted.where(Assignment.pool_id == pool.id)
    if selection.learner is not None:
        spelled = addresses.spellings(selection.learner)
        known = select(Learner.id).where(Learner.email_lower.in_(spelled))
        wanted = wanted.where(Assignment.learner_id.in_(known))
    if selection.expiring_within is not None:
        wanted = wanted.where(assignments.soon_over(selection.expiring_within))
    return wanted


def _result(
    session: Session,
    act: Callable[..., AssignmentShown],
    done: Literal["extended", "cancelled"],
    named: str,
) -> ChangedAssignment:
    told: ChangedAssignment = {
        "assignment": named,
        "result": done,
        "code": None,
        "reason": None,
        "expires_at": None,
    }
    try:
        with session.begin_nested():
            return {**told, "expires_at": act(assignment=named)["expires_at"]}
    except errors.DatabaseAwayError:
        raise
    except errors.KeypoolError as error:
        return {**told, "result": "refused", "code": error.code, "reason": str(error)}
