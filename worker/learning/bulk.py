"""Extending or cancelling many assignments at once: named ones, or by pool, learner or end.

Each has its own result: one that is refused gives its reason and does not affect the others.
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
from worker.database.filters import ListFilters, by
from worker.database.paging import Page, paged
from worker.learning import assignments, cancelling, extending
from worker.learning.assignments import AssignmentShown
from worker.pools import pools
from worker.tables.labels import AssignmentStatus
from worker.tables.learning import Assignment, Learner
from worker.tenancy import addresses
from worker.tenancy.actors import Actor, Role

AT_ONCE = 500  # assignments per transaction, which locks their rows


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


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which assignments that are not cancelled: those that every given filter chooses."""

    pool: str | None = by("All of a pool's.")
    learner: str | None = by("All of a learner's, by e-mail address.", longest=320)
    expiring_within: timedelta | None = by("Those that end within so many days.")


NONE = Filters()


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
    """Apply `act` to the assignments with these ids, or to a page of those that `filters` selects.

    Gives each one's result; `done` is that of those that were not refused. `how` are further
    arguments of `act`.

    Raises:
        InvalidInputError: nothing is selected, both ids and filters are given, or more than 500 at once.
    """
    actor.require(Role.MANAGER)
    if (filters != NONE) == bool(ids):
        raise errors.InvalidInputError(
            "Name assignments, or say of which pool or learner, or how soon they end: one of both.",
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


def _chosen(session: Session, actor: Actor, filters: Filters) -> Select[Any]:
    statement = select(Assignment.id).where(
        actor.sees(Assignment.organization_id), Assignment.status != AssignmentStatus.CANCELLED
    )
    if filters.pool is not None:
        pool = pools.find(session, actor=actor, pool=filters.pool)
        statement = statement.where(Assignment.pool_id == pool.id)
    if filters.learner is not None:
        spelled = addresses.asked(filters.learner, field="learner")
        known = select(Learner.id).where(Learner.email_lower.in_(spelled))
        statement = statement.where(Assignment.learner_id.in_(known))
    if filters.expiring_within is not None:
        statement = statement.where(assignments.soon_over(filters.expiring_within))
    return statement


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
    try:
        with session.begin_nested():
            return {**result, "expires_at": act(assignment=named)["expires_at"]}
    except errors.DatabaseAwayError:
        raise
    except errors.KeypoolError as error:
        return {**result, "result": "refused", "code": error.code, "reason": str(error)}
