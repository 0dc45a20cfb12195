"""Course assignments: valid until they end; extended, cancelled, expired."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, literal, select, text
from sqlalchemy.orm import Session

from worker import days, errors
from worker.billing import charges
from worker.catalogue import courses
from worker.database import lookup
from worker.database.connections import clock_now, transaction
from worker.database.paging import Page, paged
from worker.pools import pools
from worker.tables.billing import Charge
from worker.tables.catalogue import Course
from worker.tables.labels import AssignmentStatus, KeyState
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Key, Pool
from worker.tables.redemption import Launch
from worker.tables.tenancy import Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

FREE_CANCELLING = timedelta(hours=24)
LONGEST_EXTENSION = timedelta(days=3650)

# The oldest overdue first, so that an outage is made good in order. Rows that another sweep or a
# person holds are left to the next round.
EXPIRE = text("""
    UPDATE assignment SET status = 'expired', expired_at = clock_now()
     WHERE id = ANY (ARRAY(
           SELECT id FROM assignment
            WHERE is_overdue(status, expires_at, clock_now())
            ORDER BY expires_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED))
""")


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
) -> Page:
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


def extend(
    session: Session,
    *,
    actor: Actor,
    assignment: str,
    until: str | None = None,
    by_days: int | None = None,
    price: str | None = None,
) -> dict[str, Any]:
    """Let access end later: on a day of the learner's organization, or so many days later.

    An expired assignment comes back to life. With a price, the pool's owner is charged.

    Raises:
        InvalidInputError: not exactly one of until and by_days, or the new end is not later.
        LiveAssignmentError: the learner holds another live assignment for that course.
        RefusedError: the assignment was cancelled.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, assignment=assignment, lock=True)
    if found.status is AssignmentStatus.CANCELLED:
        raise errors.AssignmentCancelledError
    end = _later_end(session, found, until, by_days)
    if found.status is AssignmentStatus.EXPIRED and _is_valid(session, found, until=end):
        found.status, found.expired_at = AssignmentStatus.ACTIVE, None
    before, found.expires_at = found.expires_at, end
    session.flush()
    if price is not None:
        _require_owner(session, actor, found)
        charges.charge_extension(session, actor=actor, assignment=found, price=price)
    told = {"from": before.isoformat(), "to": end.isoformat(), "price": price}
    _remember(session, actor, "assignment extended", found, **told)
    return show(session, actor=actor, assignment=str(found.id))


def cancel(
    session: Session,
    *,
    actor: Actor,
    assignment: str,
    retire_key: bool = False,
    reason: str | None = None,
) -> dict[str, Any]:
    """Cancel an assignment (A5).

    Within 24 hours of redemption and before any launch, the charge is credited and the key is
    issued again (retired, where the caller says so). Later it takes a reason: nothing is credited,
    and the key is retired.

    Raises:
        AssignmentCancelledError: it was cancelled before.
        ForbiddenError: the key is of a pool outside the actor's organizations.
        InvalidInputError: a late cancellation gives no reason.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, assignment=assignment, lock=True)
    if found.status is AssignmentStatus.CANCELLED:
        raise errors.AssignmentCancelledError
    _require_owner(session, actor, found)
    undone = _can_be_undone(session, found)
    if not undone and not (reason and reason.strip()):
        raise errors.InvalidInputError(
            "More than 24 hours after redemption, or after a launch, cancelling takes a reason.",
            field="reason",
        )
    key = session.get_one(Key, found.key_id, with_for_update=True)
    now = clock_now(session)
    found.cancelled_at, found.expired_at = now, None
    found.status, found.undone = AssignmentStatus.CANCELLED, undone
    found.cancel_reason = reason and reason.strip()
    session.flush()
    key.state = KeyState.ISSUED if undone and not retire_key else KeyState.RETIRED
    session.flush()
    if undone:
        _credit(session, actor, found, reason)
    _remember(session, actor, "assignment cancelled", found, reason=reason, undone=undone)
    return show(session, actor=actor, assignment=str(found.id))


def cancelling(session: Session, *, actor: Actor, assignment: str) -> dict[str, Any] | None:
    """Say what cancelling now would do (A5): `{credited, amount, currency}`.

    `credited` says whether the charge is credited and the key can be issued again; `amount` is what is
    left of the charge. None where the key is of another organization's pool: its owner decides.
    """
    found = find(session, actor=actor, assignment=assignment)
    if not _owns(session, actor, found):
        return None
    return {
        "credited": _can_be_undone(session, found),
        **charges.left_of_redemption(session, assignment=found),
    }


def expire_overdue(session: Session, *, limit: int) -> int:
    """Mark up to `limit` overdue assignments as expired, oldest first; gives how many it marked.

    Any number may sweep at once; each assignment is expired by one of them.
    """
    return session.connection().execute(EXPIRE, {"limit": limit}).rowcount


def expire_all(*, limit: int) -> int:
    """Expire every overdue assignment, in transactions of `limit` rows; gives how many it marked.

    After each it rests for a tenth of the time that it took, so that redemptions have their turn.
    """
    total, begun = 0, time.monotonic()
    while expired := transaction(expire_overdue, limit=limit):
        total += expired
        time.sleep((time.monotonic() - begun) / 10)
        begun = time.monotonic()
    return total


def find(session: Session, *, actor: Actor, assignment: str, lock: bool = False) -> Assignment:
    """Find an assignment of the actor's organizations by id, locked against other changes on demand."""
    wanted = select(Assignment).where(
        Assignment.id == _id(assignment), actor.sees(Assignment.organization_id)
    )
    found = session.scalars(wanted.with_for_update(of=Assignment) if lock else wanted).one_or_none()
    if found is None:
        raise errors.NotFoundError(f"There is no assignment “{assignment}” in your organizations.")
    return found


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


def _later_end(
    session: Session, assignment: Assignment, until: str | None, by_days: int | None
) -> datetime:
    if until is not None and by_days is None:
        zone = session.get_one(Organization, assignment.organization_id).time_zone
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
    """Say whether it would give access now, if it lasted until then."""
    valid = gives_access(func.clock_now(), until=literal(until, Assignment.expires_at.type))
    return session.scalars(select(valid).where(Assignment.id == assignment.id)).one()


def _require_owner(session: Session, actor: Actor, assignment: Assignment) -> None:
    """Refuse what concerns the pool's owner to those who see the learner alone."""
    if not _owns(session, actor, assignment):
        raise errors.ForbiddenError(
            "The key is of another organization's pool; ask its owner to do this."
        )


def _owns(session: Session, actor: Actor, assignment: Assignment) -> bool:
    owned = select(Pool.id).where(Pool.id == assignment.pool_id, actor.sees(Pool.organization_id))
    return session.scalar(owned) is not None


def _can_be_undone(session: Session, assignment: Assignment) -> bool:
    launched = session.scalar(
        select(Launch.id)
        .where(Launch.assignment_id == assignment.id, Launch.outcome == "launched")
        .limit(1)
    )
    return launched is None and clock_now(session) < assignment.redeemed_at + FREE_CANCELLING


def _credit(session: Session, actor: Actor, assignment: Assignment, reason: str | None) -> None:
    charge = session.scalars(
        select(Charge).where(Charge.assignment_id == assignment.id, Charge.kind == "redemption")
    ).one()
    charges.give_back(session, charge=charge, reason=reason or "cancelled within 24 hours")


def _remember(
    session: Session, actor: Actor, action: str, assignment: Assignment, **detail: Any
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="assignment",
        thing_ids=assignment.id,
        organization_id=assignment.organization_id,
        **detail,
    )
