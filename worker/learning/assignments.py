"""Course assignments: who has access to what, and until when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, Unpack

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, literal, select, text
from sqlalchemy.orm import Session, joinedload
from typing_extensions import TypedDict

from worker import days, errors
from worker.catalogue import courses
from worker.database import connections, lookup, paging
from worker.database.filters import ListFilters, Sorts, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.learning import matching, sentences
from worker.pools import pools
from worker.tables.catalogue import Course
from worker.tables.labels import AssignmentStatus, LaunchOutcome
from worker.tables.learning import Assignment, Learner
from worker.tables.pools import Key, Pool
from worker.tables.redemption import Launch
from worker.tables.tenancy import Organization
from worker.tenancy import addresses, history, organizations
from worker.tenancy.actors import Actor
from worker.tenancy.history import Act

# Plain SQL instead of a composed query, because every launch asks this.
ACCESS = text("""
    SELECT status, expires_at, gives_access(status, expires_at, clock_now()) AS valid,
           time_zone, locale, clock_now() AS now
      FROM assignment JOIN organization ON organization.id = assignment.organization_id
     WHERE assignment.id = :id AND (CAST(:organization_id AS bigint) IS NULL OR organization_id IN (
           SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :organization_id))
""")


class AssignmentShape(TypedDict):
    """A learner's access to a course."""

    id: Id
    """The assignment's id."""
    learner: str
    """Who has access, by e-mail address."""
    organization: str
    """The learner's organization, by name."""
    course: str
    """The course, by code."""
    pool: Id
    """The pool that its key came from."""
    key: str | None
    """The redeemed key; null if you may not see it."""
    status: AssignmentStatus
    """Whether it is active, expired or cancelled."""
    valid: bool
    """Whether it gives access now."""
    days_left: int
    """How many days of access are left, rounded up."""
    redeemed_at: datetime
    """When the key was redeemed."""
    expires_at: datetime
    """When access ends, or ended."""
    access_lasts_until: str
    """The end of access in words, in the time zone of the learner's organization."""
    message: str
    """A sentence for the learner: in the language asked for, else their organization's."""
    launches: int
    """How often the training was launched."""
    completed: bool
    """Whether it was ever completed."""


class LaunchShape(TypedDict):
    """One time a learner took the training."""

    id: Id
    """The launch's id."""
    assignment: Id
    """The assignment that it was taken under."""
    launch: str
    """The unique id that the sender gave it."""
    launched_at: datetime
    """When it began."""
    ended_at: datetime | None
    """When it ended."""
    seconds: float | None
    """How long it took, once it ended."""
    completed: bool | None
    """Whether the training was completed; null if the sender did not say."""
    score: float | None
    """The learner's score; null if the sender did not say."""
    outcome: LaunchOutcome | Literal["ended"]
    """Whether it was allowed, or has ended."""


class AssignmentShown(AssignmentShape):
    """An assignment with what happened under it."""

    launched: list[LaunchShape]
    """The launches, oldest first; refused ones too."""
    history: list[Act]
    """The changes made to it, oldest first."""


@dataclass(frozen=True)
class Access:
    """Whether an assignment gives access now."""

    allowed: bool
    """Whether it does."""
    reason: Literal["valid", "expired", "cancelled"]
    """Why."""
    until: datetime
    """When access ends, or ended."""
    message: str
    """That in a sentence for the learner: in the language asked for, else their organization's."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which assignments."""

    sorts: ClassVar[Sorts] = {
        "redeemed_at": Assignment.redeemed_at,
        "expires_at": Assignment.expires_at,
    }
    sorting: ClassVar[str] = "redeemed_at: of a pool's; expires_at: of active ones."

    search: str | None = by(
        "Pieces of the learner's address or name, in any order and letter case.", typed="search"
    )
    learner: str | None = by("One learner's, by e-mail address.", longest=320)
    organization: str | None = by("Those of its learners.")
    course: str | None = by("Those for this course.", longest=64)
    pool: str | None = by("Those that its keys gave.")
    status: AssignmentStatus | None = by("Those that are so.")
    expiring_within: timedelta | None = by("Those that end within so many days.")
    at_risk: bool = by(
        "Only those of learners at risk: never launched, with at least half of the access gone.",
        default=False,
    )


ALL = Filters()


def soon_over(within: timedelta) -> ColumnElement[bool]:
    """Give the condition for a valid assignment that ends within a time from now."""
    now = func.clock_now()
    over_by_then = func.is_overdue(Assignment.status, Assignment.expires_at, now + within)
    return and_(gives_access(now), over_by_then)


def at_risk(now: datetime) -> ColumnElement[bool]:
    """Give the condition for a valid assignment that was never launched by now, and half of it is gone.

    The notebook on learners at risk asks the same of schema `report`.
    """
    return and_(
        Assignment.status == AssignmentStatus.ACTIVE,
        gives_access(literal(now)),
        Assignment.expires_at - now <= now - Assignment.redeemed_at,
        ~exists().where(TAKEN, Launch.outcome == LaunchOutcome.LAUNCHED),
    )


def gives_access(
    at: ColumnElement[datetime], *, until: ColumnElement[datetime] | None = None
) -> ColumnElement[bool]:
    """Give the condition for an assignment that is valid at an instant (A1), as in schema.sql.

    `until` stands in for the assignment's own end.
    """
    end = Assignment.expires_at if until is None else until
    return func.gives_access(Assignment.status, end, at)


def _rows(launches: ColumnElement[int], completed: ColumnElement[bool]) -> Select[Any]:
    """Select assignments with the names and current values that their public fields need."""
    left = func.ceil(func.extract("epoch", Assignment.expires_at - func.clock_now()) / 86400)
    return (
        select(
            Assignment,
            Learner.email,
            Organization.name.label("organization"),
            Organization.time_zone,
            Organization.locale,
            func.clock_now().label("now"),
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
        # The web's login, for a child, cannot see its parent's key.
        .join(Key, Key.id == Assignment.key_id, isouter=True)
    )


TAKEN = Launch.assignment_id == Assignment.id
ROWS = _rows(
    select(func.count()).where(TAKEN, Launch.outcome == "launched").scalar_subquery(),
    exists().where(TAKEN, Launch.completed.is_(True)),
)
# One row per launch, or one row without; each row has the totals.
WITH_LAUNCHES = (
    _rows(
        func.count().filter(Launch.outcome == "launched").over(),
        func.coalesce(func.bool_or(Launch.completed).over(), false()),
    )
    .add_columns(Launch)
    .join(Launch, TAKEN, isouter=True)
    .order_by(Launch.launched_at, Launch.id)
)


def access(session: Session, *, actor: Actor, assignment: str) -> Access:
    """Say whether an assignment gives access now: `valid`, `expired` or `cancelled`."""
    asked = {"id": _id(assignment), "organization_id": actor.organization_id}
    row = session.execute(ACCESS, asked).one_or_none()
    if row is None:
        raise errors.NotFoundError(f"There is no assignment “{assignment}” in your organizations.")
    message = _message(row)
    if row.valid:
        return Access(True, "valid", row.expires_at, message)
    cancelled = row.status == AssignmentStatus.CANCELLED
    return Access(False, "cancelled" if cancelled else "expired", row.expires_at, message)


def listing(
    session: Session,
    *,
    actor: Actor,
    filters: Filters = ALL,
    learners: Sequence[int] | None = None,
    **page: Unpack[Paging],
) -> Page[AssignmentShape]:
    """List assignments of the actor's organizations; for instance one learner's, or those that end soon.

    Active ones can be sorted by `expires_at`. Those that end soon are sorted by their end, and a
    pool's by redemption. `learners` are ids of learners, whose assignments alone are listed.

    Raises:
        InvalidInputError: the learner is no address, or a sort has no index for these filters.
    """
    chosen = [actor.sees(Assignment.organization_id), *_chosen(session, actor, filters)]
    if learners is not None:
        chosen.append(Assignment.learner_id.in_(learners))
    found, sorts = _found(filters, chosen), _sorts(filters)
    page["sort"] = page.get("sort") or _sort(filters)
    return paged(session, ROWS, by=Assignment.id, shape=shape, sorts=sorts, found=found, **page)


def selected(session: Session, *, actor: Actor, filters: Filters = ALL) -> Select[int]:
    """Select the ids of the assignments that the list would show."""
    chosen = _chosen(session, actor, filters)
    return select(Assignment.id).where(actor.sees(Assignment.organization_id), *chosen)


def total(session: Session, *, actor: Actor, filters: Filters, most: int | None = None) -> int:
    """Count the assignments that the list would show, as `paging.total` does."""
    chosen = [actor.sees(Assignment.organization_id), *_chosen(session, actor, filters)]
    return paging.total(session, _found(filters, chosen), most)


def show(session: Session, *, actor: Actor, assignment: str | Assignment) -> AssignmentShown:
    """Give an assignment with its launches and history."""
    found = find(session, actor=actor, assignment=assignment)
    rows = session.execute(WITH_LAUNCHES.where(Assignment.id == found.id)).all()
    return {
        **shape(rows[0]),
        "launched": [launch_shape(row.Launch) for row in rows if row.Launch],
        "history": history.of(session, thing="assignment", thing_id=found.id),
    }


def find(
    session: Session, *, actor: Actor, assignment: str | Assignment, lock: bool = False
) -> Assignment:
    """Find an assignment of the actor's organizations by id, with the learner and their organization.

    It also takes an assignment that was found before, and `lock`, as `lookup.find` does; that
    waits for concurrent launches, too.
    """
    if isinstance(assignment, Assignment):
        return assignment
    statement = (
        select(Assignment)
        .options(
            joinedload(Assignment.organization, innerjoin=True),
            joinedload(Assignment.learner, innerjoin=True),
        )
        .where(Assignment.id == _id(assignment), actor.sees(Assignment.organization_id))
    )
    if lock:
        statement = lookup.locked(statement, of=Assignment, alone=True)
    found = session.scalars(statement).one_or_none()
    if found is None:
        raise errors.NotFoundError(f"There is no assignment “{assignment}” in your organizations.")
    return found


def owned(actor: Actor, assignment: Assignment) -> ColumnElement[bool]:
    """Give the condition that the actor sees the assignment's pool, not only its learner."""
    return exists().where(Pool.id == assignment.pool_id, actor.sees(Pool.organization_id))


def require_owner(owned: bool | None) -> None:
    """Require that the actor sees the assignment's pool, not only its learner.

    Raises:
        ForbiddenError: the pool is outside the actor's organizations.
    """
    if not owned:
        raise errors.ForbiddenError(
            "The key is of another organization's pool; ask its owner to do this."
        )


def shape(row: Selected) -> AssignmentShape:
    """Give an assignment's public fields."""
    assignment: Assignment = row.Assignment
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
        "message": _message(row, assignment),
        "launches": row.launches,
        "completed": row.completed,
    }


def launch_shape(launch: Launch) -> LaunchShape:
    """Give a launch's public fields."""
    lasted = launch.ended_at - launch.launched_at if launch.ended_at else None
    return {
        "id": str(launch.id),
        "assignment": str(launch.assignment_id),
        "launch": launch.launch,
        "launched_at": launch.launched_at,
        "ended_at": launch.ended_at,
        "seconds": lasted.total_seconds() if lasted else None,
        "completed": launch.completed,
        "score": None if launch.score is None else float(launch.score),
        "outcome": "ended" if launch.ended_at else launch.outcome,
    }


def _message(row: Selected, assignment: Assignment | None = None) -> str:
    """Say to the learner whether there is access, and until when."""
    about = row if assignment is None else assignment
    return sentences.describe(
        cancelled=about.status == AssignmentStatus.CANCELLED,
        end=about.expires_at,
        zone=row.time_zone,
        locale=row.locale,
        now=row.now,
    )


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    yield from _of_whom(actor, filters)
    if filters.organization is not None:
        home = organizations.find(session, actor=actor, name=filters.organization)
        yield Assignment.organization_id == home.id
    if filters.course is not None:
        yield Assignment.course_id == courses.find(session, name=filters.course).id
    if filters.pool is not None:
        yield Assignment.pool_id == pools.find(session, actor=actor, pool=filters.pool).id
    if filters.status is not None:
        yield Assignment.status == filters.status
    if filters.expiring_within is not None:
        yield soon_over(filters.expiring_within)
    if filters.at_risk:
        yield at_risk(connections.clock_now(session))


def _of_whom(actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.search:
        yield Assignment.learner_id.in_(matching.ids(actor, filters.search))
    if filters.learner is not None:
        spelled = addresses.asked(filters.learner, field="learner")
        yield Assignment.learner_id.in_(select(Learner.id).where(Learner.email_lower.in_(spelled)))


def _found(filters: Filters, chosen: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Select assignments without what is told of them, to be counted: by the index that has them in order."""
    found = select(Assignment.id).where(*chosen)
    return found.order_by(Assignment.expires_at) if _sort(filters) == "expires_at" else found


def _sort(filters: Filters) -> str | None:
    if filters.expiring_within is not None or filters.at_risk:
        return "expires_at"
    return "redeemed_at" if filters.pool is not None else None


def _sorts(filters: Filters) -> Sorts:
    """Give by what a list can be sorted: there is an index for a pool's, and for active ones."""
    names = []
    if filters.pool is not None:
        names.append("redeemed_at")
    soon = filters.expiring_within is not None or filters.at_risk
    if filters.status is AssignmentStatus.ACTIVE or soon:
        names.append("expires_at")
    return {name: Filters.sorts[name] for name in names}


def _id(assignment: str) -> int:
    return int(assignment) if lookup.is_id(assignment) else -1
