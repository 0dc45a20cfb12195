"""Course assignments: who has access to what, and until when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, select, text
from sqlalchemy.orm import Session

from worker import days, errors
from worker.catalogue import courses
from worker.database import lookup
from worker.database.paging import Page, paged
from worker.pools import pools
from worker.tables.catalogue import Course
from worker.tables.labels import AssignmentStatus
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Key, Pool
from worker.tables.redemption import Launch
from worker.tables.tenancy import Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor

# One look by the id. It is asked at every launch, so nothing is composed for it.
ACCESS = text("""
    SELECT status, expires_at, gives_access(status, expires_at, clock_now()) AS valid
      FROM assignment
     WHERE id = :id AND (CAST(:organization_id AS bigint) IS NULL OR organization_id IN (
           SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :organization_id))
""")


@dataclass(frozen=True)
class Access:
    """Whether an assignment gives access at this moment, why, and until when."""

    allowed: bool
    reason: str
    until: datetime


def soon_over(within: timedelta) -> ColumnElement[bool]:
    """Give the condition for a valid assignment that ends within a time from now."""
    now = func.clock_now()
    over_by_then = func.is_overdue(Assignment.status, Assignment.expires_at, now + within)
    return and_(gives_access(now), over_by_then)


def gives_access(
    at: ColumnElement[datetime], *, until: ColumnElement[datetime] | None = None
) -> ColumnElement[bool]:
    """Give the condition for an assignment that is valid at an instant, as schema.sql has it (A1).

    `until` is where it ends, if that is another time than it has.
    """
    end = Assignment.expires_at if until is None else until
    return func.gives_access(Assignment.status, end, at)


def access(session: Session, *, actor: Actor, assignment: str) -> Access:
    """Say whether an assignment gives access now: `valid`, `expired` or `cancelled`."""
    asked = {"id": _id(assignment), "organization_id": actor.organization_id}
    row = session.execute(ACCESS, asked).one_or_none()
    if row is None:
        raise errors.NotFoundError(f"There is no assignment “{assignment}” in your organizations.")
    cancelled = row.status == AssignmentStatus.CANCELLED
    reason = "valid" if row.valid else "cancelled" if cancelled else "expired"
    return Access(row.valid, reason, row.expires_at)


def listing(
    session: Session,
    *,
    actor: Actor,
    learner: str | None = None,
    organization: str | None = None,
    course: str | None = None,
    pool: str | None = None,
    status: str | None = None,
    expiring_within: timedelta | None = None,
    sort: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[dict[str, Any]]:
    """List assignments of the actor's organizations; of one learner, say, or those that soon end.

    Those that are active can be sorted by `expires_at`. Those that soon end come as they end, and a
    pool's as they were redeemed.

    Raises:
        InvalidInputError: the status is not one, or others than active ones are to be sorted so.
    """
    wanted = _rows().where(*_of(session, actor, learner, organization, course, pool))
    if status is not None:
        wanted = wanted.where(
            Assignment.status == lookup.label(AssignmentStatus, status, field="status")
        )
    if expiring_within is not None:
        wanted = wanted.where(soon_over(expiring_within))
    sorts = {}  # those for which there is an index
    if status == AssignmentStatus.ACTIVE or expiring_within is not None:
        sorts["expires_at"] = Assignment.expires_at
    if expiring_within is not None:
        sort = sort or "expires_at"
    if pool is not None:
        sorts["redeemed_at"], sort = Assignment.redeemed_at, sort or "redeemed_at"
    return paged(
        session,
        wanted,
        by=Assignment.id,
        after=after,
        limit=limit,
        shape=shape,
        sort=sort,
        sorts=sorts,
    )


def show(session: Session, *, actor: Actor, assignment: str) -> dict[str, Any]:
    """Give an assignment with its launches, charges and history."""
    found = find(session, actor=actor, assignment=assignment)
    launches = session.scalars(
        select(Launch)
        .where(Launch.assignment_id == found.id)
        .order_by(Launch.launched_at, Launch.id)
    )
    return {
        **shape(session.execute(_rows().where(Assignment.id == found.id)).one()),
        "launched": [launch_shape(launch) for launch in launches],
        "history": history.of(session, thing="assignment", thing_id=found.id),
    }


def find(session: Session, *, actor: Actor, assignment: str, lock: bool = False) -> Assignment:
    """Find an assignment of the actor's organizations by id, locked against other changes on demand."""
    wanted = select(Assignment).where(
        Assignment.id == _id(assignment), actor.sees(Assignment.organization_id)
    )
    found = session.scalars(wanted.with_for_update(of=Assignment) if lock else wanted).one_or_none()
    if found is None:
        raise errors.NotFoundError(f"There is no assignment “{assignment}” in your organizations.")
    return found


def owned(session: Session, actor: Actor, assignment: Assignment) -> bool:
    """Say whether the pool that it came from is the actor's, and not only the learner."""
    owned = select(Pool.id).where(Pool.id == assignment.pool_id, actor.sees(Pool.organization_id))
    return session.scalar(owned) is not None


def require_owner(session: Session, actor: Actor, assignment: Assignment) -> None:
    """Refuse what concerns the pool's owner to those who see the learner alone.

    Raises:
        ForbiddenError: the pool is out of the actor's organizations.
    """
    if not owned(session, actor, assignment):
        raise errors.ForbiddenError(
            "The key is of another organization's pool; ask its owner to do this."
        )


def remember(
    session: Session, actor: Actor, action: str, assignment: Assignment, **detail: Any
) -> None:
    """Write into the history what was done with an assignment."""
    history.record(
        session,
        actor=actor,
        action=action,
        thing="assignment",
        thing_ids=assignment.id,
        organization_id=assignment.organization_id,
        **detail,
    )


def shape(row: Any) -> dict[str, Any]:
    """Give an assignment's public fields; `valid` and `days_left` are of this moment."""
    assignment = row.Assignment
    return {
        "id": str(assignment.id),
        "learner": row.email,
        "organization": row.organization,
        "course": row.course,
        "pool": str(assignment.pool_id),
        "key": row.code,
        "status": assignment.status,
        "valid": row.valid,
        "days_left": row.days_left,
        "redeemed_at": assignment.redeemed_at,
        "expires_at": assignment.expires_at,
        "access_lasts_until": days.end_in_words(assignment.expires_at, row.time_zone),
        "launches": row.launches,
        "completed": row.completed,
    }


def launch_shape(launch: Launch) -> dict[str, Any]:
    """Give a launch's public fields."""
    return {
        "id": str(launch.id),
        "assignment": str(launch.assignment_id),
        "launch": launch.launch,
        "launched_at": launch.launched_at,
        "ended_at": launch.ended_at,
        "seconds": launch.ended_at and (launch.ended_at - launch.launched_at).total_seconds(),
        "completed": launch.completed,
        "score": None if launch.score is None else float(launch.score),
        "outcome": "ended" if launch.ended_at else launch.outcome,
    }


def _of(
    session: Session,
    actor: Actor,
    learner: str | None,
    organization: str | None,
    course: str | None,
    pool: str | None,
) -> list[ColumnElement[bool]]:
    """Give the conditions that an assignment is the actor's to see, and of whom or what is named."""
    conditions = [actor.sees(Assignment.organization_id)]
    if learner is not None:
        conditions.append(Learner.email_lower == learner.strip().lower())
    if organization is not None:
        home = organizations.find(session, actor=actor, name=organization)
        conditions.append(Assignment.organization_id == home.id)
    if course is not None:
        conditions.append(Assignment.course_id == courses.find(session, name=course).id)
    if pool is not None:
        found = pools.find(session, actor=actor, pool=pool)
        conditions.append(Assignment.pool_id == found.id)
    return conditions


def _rows() -> Select[Any]:
    launches = (
        select(func.count())
        .where(Launch.assignment_id == Assignment.id, Launch.outcome == "launched")
        .scalar_subquery()
    )
    completed = exists().where(Launch.assignment_id == Assignment.id, Launch.completed.is_(True))
    left = func.ceil(func.extract("epoch", Assignment.expires_at - func.clock_now()) / 86400)
    return (
        select(
            Assignment,
            Learner.email,
            Organization.name.label("organization"),
            Organization.time_zone,
            Course.code.label("course"),
            Key.code,
            launches.label("launches"),
            completed.label("completed"),
            gives_access(func.clock_now()).label("valid"),
            func.greatest(0, left.cast(Assignment.id.type)).label("days_left"),
        )
        .join(Learner, Learner.id == Assignment.learner_id)
        .join(Organization, Organization.id == Assignment.organization_id)
        .join(Course, Course.id == Assignment.course_id)
        # A parent's key is out of the sight of the child's login.
        .join(Key, Key.id == Assignment.key_id, isouter=True)
    )


def _id(assignment: str) -> int:
    return int(assignment) if lookup.is_id(assignment) else -1
