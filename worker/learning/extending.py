"""Extending: access to a course ends later, free or for a price."""

from datetime import datetime, timedelta

from sqlalchemy import func, literal, select
from sqlalchemy.orm import Session

from worker import days, errors
from worker.billing import charges
from worker.database import locks
from worker.learning import assignments
from worker.learning.assignments import AssignmentShown
from worker.tables.labels import AssignmentStatus
from worker.tables.learning import Assignment
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

LONGEST_EXTENSION = timedelta(days=days.MAX_DAYS)


def extend(
    session: Session,
    *,
    actor: Actor,
    assignment: str | Assignment,
    until: str | None = None,
    by_days: int | None = None,
    price: str | None = None,
) -> AssignmentShown:
    """Move the end of access: to a day in the learner's organization's time zone, or by so many days.

    An expired assignment becomes active again. With a price, the pool's owner is charged.

    Raises:
        InvalidInputError: not exactly one of until and by_days, or the new end is not later.
        LiveAssignmentError: the learner holds another live assignment for that course.
        RefusedError: the assignment was cancelled.
    """
    actor.require(Role.MANAGER)
    if price is not None:
        own = [actor.organization_id] if actor.organization_id else None
        locks.await_settlers(session, own)  # so that no tax rate is set for this day meanwhile
    found = assignments.find(session, actor=actor, assignment=assignment, lock=True)
    if found.status is AssignmentStatus.CANCELLED:
        raise errors.AssignmentCancelledError
    end = _later_end(found, until, by_days)
    if found.status is AssignmentStatus.EXPIRED and _is_valid(session, found, until=end):
        found.status, found.expired_at = AssignmentStatus.ACTIVE, None
    before, found.expires_at = found.expires_at, end
    session.flush()
    if price is not None:
        assignments.require_owner(session.scalar(select(assignments.owned(actor, found))))
        charges.charge_extension(session, actor=actor, assignment=found, price=price)
    detail = {
        "learner": found.learner.email,
        "pool": str(found.pool_id),
        "from": before.isoformat(),
        "to": end.isoformat(),
        "price": price,
    }
    history.remember(session, actor, "assignment extended", found, **detail)
    return assignments.show(session, actor=actor, assignment=found)


def _later_end(assignment: Assignment, until: str | None, by_days: int | None) -> datetime:
    if until is not None and by_days is None:
        zone = assignment.organization.time_zone
        end = days.instant(until, zone=zone, field="until", end=True)
    elif by_days is not None and until is None:
        later = max(0, min(by_days, LONGEST_EXTENSION.days + 1))
        end = assignment.expires_at + timedelta(days=later)
    else:
        raise errors.InvalidInputError(
            "Give either the new end or a number of days.", field="until"
        )
    if not assignment.expires_at < end <= assignment.expires_at + LONGEST_EXTENSION:
        raise errors.InvalidInputError(
            f"Access lasts until {assignment.expires_at:%Y-%m-%d %H:%M} UTC; "
            "give a later end, by ten years at most.",
            field="until",
        )
    return end


def _is_valid(session: Session, assignment: Assignment, *, until: datetime) -> bool:
    """Say whether the assignment would give access now, if it lasted until then."""
    valid = assignments.gives_access(
        func.clock_now(), until=literal(until, Assignment.expires_at.type)
    )
    return session.scalars(select(valid).where(Assignment.id == assignment.id)).one()
