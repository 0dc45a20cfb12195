"""Assignments: learners' access to courses."""

from datetime import timedelta
from typing import Any, Literal

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import Paging, Taken, gives
from worker.database import patience
from worker.database.paging import Page
from worker.learning import assignments, bulk, cancelling, extending
from worker.learning.assignments import Access, AssignmentShape, AssignmentShown
from worker.learning.bulk import ChangedAssignment, Selection
from worker.tables.labels import AssignmentStatus
from worker.tables.learning import Assignment
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint(
    "assignments", __name__, url_prefix="/api/v1/assignments", tag="Assignments"
)

READERS = (Role.MANAGER, Role.ANALYST)


class Query(Paging):
    """Which assignments."""

    learner: str | None = Field(None, description="An e-mail address.", max_length=320)
    organization: str | None = Field(None, description="The learner's.", max_length=200)
    course: str | None = Field(None, max_length=64)
    pool: str | None = Field(None, max_length=200)
    status: AssignmentStatus | None = None
    expiring_within: int | None = Field(None, description="Days.", ge=0, le=36_500)
    sort: (
        Literal["made", "-made", "redeemed_at", "-redeemed_at", "expires_at", "-expires_at"] | None
    ) = Field(None, description="redeemed_at of a pool's; expires_at of active ones.")


class Extension(Taken):
    """A later end, or a number of days; if a price is given, the pool's owner is charged."""

    until: str | None = None
    days: int | None = None
    price: str | None = None


class Cancellation(Taken):
    """Whether to retire the key, and why; a late cancellation requires a reason."""

    retire_key: bool = False
    reason: str | None = None


class Chosen(Taken):
    """Which assignments: up to 500 by id, or any number by conditions, 500 per page."""

    assignments: list[str] = Field([], max_length=500)
    pool: str | None = None
    learner: str | None = None
    expiring_within: int | None = Field(None, description="Days.", ge=0, le=36_500)
    cursor: str | None = None


class Extensions(Chosen, Extension):
    """Which assignments to extend, and until when."""


class Cancellations(Chosen, Cancellation):
    """Which assignments to cancel, and why."""


@blueprint.get("")
@allowed(*READERS)
@gives()
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Page[AssignmentShape]:
    """List assignments: all, one learner's, or those that end soon."""
    wanted = query.page()
    if query.expiring_within is not None:
        wanted["expiring_within"] = timedelta(days=query.expiring_within)
    return assignments.listing(session, actor=actor, **wanted)


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
    selection, given = _selection(body.given(days="by_days", cursor="after"))
    return bulk.extend(session, actor=actor, selection=selection, **given)


@blueprint.post("/cancel")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Cancellations, arg_name="body")
def cancel_many(session: Session, actor: Actor, body: Cancellations) -> Page[ChangedAssignment]:
    """Cancel many assignments; each has its own result."""
    patience.unhurried(session)
    selection, given = _selection(body.given(cursor="after"))
    return bulk.cancel(session, actor=actor, selection=selection, **given)


@blueprint.post("/<assignment>/extend")
@allowed(Role.MANAGER)
@versioned(assignments.find)
@gives()
@blueprint.input(Extension, arg_name="body")
def extend(
    session: Session, actor: Actor, assignment: Assignment, body: Extension
) -> AssignmentShown:
    """Extend an assignment, free or at a price."""
    given = body.given(days="by_days")
    return extending.extend(session, actor=actor, assignment=assignment, **given)


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


def _selection(given: dict[str, Any]) -> tuple[Selection, dict[str, Any]]:
    """Split a body into the selection of assignments and the arguments of the change."""
    days = given.pop("expiring_within", None)
    within = None if days is None else timedelta(days=days)
    which = {name: given.pop(name, None) for name in ("pool", "learner")}
    return Selection(given.pop("assignments", ()), expiring_within=within, **which), given
