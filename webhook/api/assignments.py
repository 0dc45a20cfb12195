"""Assignments: learners' access to courses."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import queries
from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.queries import Choice, Query
from webhook.http.shapes import Taken, gives
from worker.database import patience
from worker.database.paging import Page
from worker.learning import assignments, bulk, cancelling, extending
from worker.learning.assignments import Access, AssignmentShape, AssignmentShown
from worker.learning.bulk import ChangedAssignment
from worker.tables.learning import Assignment
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint(
    "assignments", __name__, url_prefix="/api/v1/assignments", tag="Assignments"
)

READERS = (Role.MANAGER, Role.ANALYST)


class Extension(Taken):
    """A later end, or a number of days; if a price is given, the pool's owner is charged."""

    until: str | None = None
    days: int | None = None
    price: str | None = None


class Cancellation(Taken):
    """Whether to retire the key, and why; a late cancellation requires a reason."""

    retire_key: bool = False
    reason: str | None = None


@queries.of(assignments.Filters)
class Chosen(Choice[assignments.Filters]):
    """Which assignments: up to 500 by id, or any number by filters, 500 per page."""

    assignments: list[str] = Field([], max_length=500)
    cursor: str | None = None


class Extensions(Chosen, Extension):
    """Which assignments to extend, and until when."""


class Cancellations(Chosen, Cancellation):
    """Which assignments to cancel, and why."""


@blueprint.get("")
@allowed(*READERS)
@gives()
@blueprint.input(queries.query(assignments.Filters), location="query", arg_name="query")
def listing(
    session: Session, actor: Actor, query: Query[assignments.Filters]
) -> Page[AssignmentShape]:
    """List assignments: all, one learner's, or those that end soon."""
    return assignments.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.get("/<assignment>")
@allowed(*READERS)
@versioned(assignments.find)
@gives()
def show(session: Session, actor: Actor, assignment: Assignment) -> AssignmentShown:
    """Show an assignment with its launches and history."""
    return assignments.show(session, actor=actor, assignment=assignment)


@blueprint.get("/<assignment>/access")
@allowed(*READERS, Role.SENDER)
@gives()
def access(session: Session, actor: Actor, assignment: str) -> Access:
    """Say whether an assignment gives access now."""
    return assignments.access(session, actor=actor, assignment=assignment)


@blueprint.post("/extend")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Extensions, arg_name="body")
def extend_many(session: Session, actor: Actor, body: Extensions) -> Page[ChangedAssignment]:
    """Extend many assignments; each has its own result."""
    patience.unhurried(session)
    return bulk.extend(
        session,
        actor=actor,
        ids=body.assignments,
        filters=body.filters,
        after=body.cursor,
        until=body.until,
        by_days=body.days,
        price=body.price,
    )


@blueprint.post("/cancel")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Cancellations, arg_name="body")
def cancel_many(session: Session, actor: Actor, body: Cancellations) -> Page[ChangedAssignment]:
    """Cancel many assignments; each has its own result."""
    patience.unhurried(session)
    return bulk.cancel(
        session,
        actor=actor,
        ids=body.assignments,
        filters=body.filters,
        after=body.cursor,
        retire_key=body.retire_key,
        reason=body.reason,
    )


@blueprint.post("/<assignment>/extend")
@allowed(Role.MANAGER)
@versioned(assignments.find)
@gives()
@blueprint.input(Extension, arg_name="body")
def extend(
    session: Session, actor: Actor, assignment: Assignment, body: Extension
) -> AssignmentShown:
    """Extend an assignment, free or at a price."""
    fields = body.given(days="by_days")
    return extending.extend(session, actor=actor, assignment=assignment, **fields)


@blueprint.post("/<assignment>/cancel")
@allowed(Role.MANAGER)
@versioned(assignments.find)
@gives()
@blueprint.input(Cancellation, arg_name="body")
def cancel(
    session: Session, actor: Actor, assignment: Assignment, body: Cancellation
) -> AssignmentShown:
    """Cancel an assignment; if it is soon and unused, the charge is credited and the key issued again."""
    return cancelling.cancel(session, actor=actor, assignment=assignment, **body.given())
