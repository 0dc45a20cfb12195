"""Duplicates: two learners of an organization who are the same person (L1).

They were made before addresses were normalized. No new ones can arise.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session, aliased
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.connections import clock_now
from worker.database.lookup import Id
from worker.database.paging import Page, Selected, paged
from worker.learning import cancelling
from worker.tables.learning import Assignment, Learner
from worker.tables.tenancy import Organization
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

Kept = aliased(Learner, name="kept")

# Courses for which both hold a live assignment; the one that ends first can be cancelled.
BOTH = text("""
    SELECT course.code, shorter.id AS shorter, longer.id AS longer, longer.expires_at AS ends_at
      FROM assignment AS theirs
      JOIN assignment AS ours ON ours.course_id = theirs.course_id AND ours.status = 'active'
      JOIN course ON course.id = theirs.course_id
     CROSS JOIN LATERAL (SELECT id, expires_at FROM assignment WHERE id IN (ours.id, theirs.id)
                          ORDER BY expires_at, id DESC LIMIT 1) AS shorter
     CROSS JOIN LATERAL (SELECT id, expires_at FROM assignment WHERE id IN (ours.id, theirs.id)
                          ORDER BY expires_at DESC, id LIMIT 1) AS longer
     WHERE theirs.status = 'active' AND theirs.learner_id = :duplicate AND ours.learner_id = :kept
     ORDER BY course.code
""")

# Overdue assignments that the sweep has not expired yet; they are not valid (A1).
EXPIRE_OVERDUE = text("""
    UPDATE assignment SET status = 'expired', expired_at = clock_now()
     WHERE learner_id IN (:duplicate, :kept) AND is_overdue(status, expires_at, clock_now())
""")
MOVE = text("""
    UPDATE assignment SET learner_id = :kept WHERE learner_id = :duplicate RETURNING id
""")


class Duplicate(TypedDict):
    """A learner who is a duplicate of another in the same organization."""

    id: Id
    """The duplicate's id, by which it is joined."""
    email: str
    """The duplicate's address, as it was typed."""
    name: str
    """The duplicate's name; empty if none is known."""
    organization: str
    """The organization of both."""
    learner: str
    """The address of the other learner: the same address, normalized."""
    learner_id: Id
    """The other learner's id."""
    assignments: int
    """How many assignments the duplicate holds, over or not."""


class Joined(TypedDict):
    """The result of joining a duplicate."""

    learner: str
    """The learner who remains, by address."""
    joined: str
    """The duplicate, by address."""
    assignments: list[Id]
    """The assignments that were moved."""
    cancelled: list[Id]
    """The assignments that were cancelled because the other one for the course ends later."""


@dataclass(frozen=True)
class Clash:
    """Two live assignments for one course; a person can hold only one."""

    course: str
    shorter: int
    longer: int
    ends_at: datetime


def listing(
    session: Session, *, actor: Actor, after: str | None = None, limit: int = 100
) -> Page[Duplicate]:
    """List the duplicates that were not joined yet."""
    actor.require(Role.MANAGER)
    statement = _rows().where(actor.sees(Learner.organization_id))
    return paged(session, statement, by=Learner.id, after=after, limit=limit, shape=shape)


def join(session: Session, *, actor: Actor, duplicate: str, cancel_shorter: bool = False) -> Joined:
    """Move everything of a duplicate to the learner that it duplicates; the history keeps both.

    If both hold live access to a course, nothing is done, unless the assignment that ends first is to
    be cancelled. That credits its charge within 24 hours and before a launch, as cancelling does.

    Raises:
        NotFoundError: there is no such duplicate, or it was joined before.
        LiveAssignmentError: both hold a live assignment for a course.
    """
    actor.require(Role.MANAGER)
    row = _find(session, actor, duplicate)
    theirs, kept = row.Learner, row.kept
    both = {"duplicate": theirs.id, "kept": kept.id}
    session.execute(EXPIRE_OVERDUE, both)
    clashes = [Clash(*clash) for clash in session.execute(BOTH, both)]
    if clashes and not cancel_shorter:
        raise errors.LiveAssignmentError(_told(clashes))
    for clash in clashes:
        reason = f"joined with assignment {clash.longer}"
        cancelling.cancel(session, actor=actor, assignment=str(clash.shorter), reason=reason)
    moved = sorted(session.scalars(MOVE, both))
    kept.name, theirs.joined_at = kept.name or theirs.name, clock_now(session)
    session.flush()
    _remember(session, actor, theirs, kept, moved)
    return {
        "learner": kept.email,
        "joined": theirs.email,
        "assignments": [str(id_) for id_ in moved],
        "cancelled": [str(clash.shorter) for clash in clashes],
    }


def shape(row: Selected) -> Duplicate:
    """Give a duplicate's public fields."""
    return {
        "id": str(row.Learner.id),
        "email": row.Learner.email,
        "name": row.Learner.name,
        "organization": row.organization,
        "learner": row.kept.email,
        "learner_id": str(row.kept.id),
        "assignments": row.assignments,
    }


def _rows() -> Select[Any]:
    held = select(func.count()).where(Assignment.learner_id == Learner.id).scalar_subquery()
    return (
        select(
            Learner,
            Kept,
            Organization.name.label("organization"),
            held.label("assignments"),
        )
        .join(Kept, Kept.id == Learner.duplicate_of)
        .join(Organization, Organization.id == Learner.organization_id)
        .where(Learner.joined_at.is_(None), Learner.erased_at.is_(None))
    )


def _find(session: Session, actor: Actor, duplicate: str) -> Any:
    statement = _rows().where(
        Learner.id == (int(duplicate) if lookup.is_id(duplicate) else -1),
        actor.sees(Learner.organization_id),
    )
    row = session.execute(statement.with_for_update(of=[Learner, Kept])).one_or_none()
    if row is None:
        raise errors.NotFoundError(
            f"There is no duplicate “{duplicate}” to be joined in your organizations; "
            "“keypool learners duplicates” lists them by id."
        )
    return row


def _told(clashes: list[Clash]) -> str:
    pairs = "; ".join(f"{c.course} ({c.shorter} ends before {c.longer})" for c in clashes)
    return (
        f"Both hold live assignments: {pairs}. Cancel one of each, or have the shorter cancelled "
        "as they are joined (--cancel-shorter)."
    )


def _remember(
    session: Session, actor: Actor, theirs: Learner, kept: Learner, moved: list[int]
) -> None:
    history.record(
        session,
        actor=actor,
        action="learners joined",
        thing="learner",
        thing_ids=[kept.id, theirs.id],
        organization_id=kept.organization_id,
        learner=kept.email,
        joined=theirs.email,
        assignments=moved,
    )
