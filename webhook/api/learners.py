"""Learners: a person's data."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import Changes, Clearable, Paging, Taken, gives, left_out
from worker.database.paging import Page
from worker.learning import duplicates, learners
from worker.learning.duplicates import Duplicate, Joined
from worker.learning.learners import Erasure, LearnerExport, LearnerShape
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("learners", __name__, url_prefix="/api/v1/learners", tag="Learners")


class Joining(Taken):
    """How to join a duplicate to its learner."""

    cancel_shorter: bool = Field(
        False, description="Where both have access to a course, cancel what ends first."
    )


class Correction(Changes):
    """A learner's correct address or name."""

    email: str = left_out()
    name: Clearable = None


@blueprint.get("/duplicates")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Paging, location="query", arg_name="query")
def list_duplicates(session: Session, actor: Actor, query: Paging) -> Page[Duplicate]:
    """List duplicates: learners who are the same person as another, from before addresses were normalized."""
    return duplicates.listing(session, actor=actor, **query.page())


@blueprint.post("/duplicates/<duplicate>/join")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Joining, arg_name="body")
def join(session: Session, actor: Actor, duplicate: str, body: Joining) -> Joined:
    """Move everything of a duplicate to the learner that it duplicates."""
    return duplicates.join(session, actor=actor, duplicate=duplicate, **body.given())


@blueprint.get("/<email>")
@allowed(Role.MANAGER, Role.ANALYST)
@versioned(learners.find)
@gives()
@blueprint.input(Paging, location="query", arg_name="query")
def show(session: Session, actor: Actor, email: str, query: Paging) -> LearnerShape:
    """Show a learner with a page of their assignments."""
    return learners.show(session, actor=actor, email=email, **query.page())


@blueprint.patch("/<email>")
@allowed(Role.MANAGER)
@versioned(learners.find)
@gives()
@blueprint.input(Correction, arg_name="body")
def correct(session: Session, actor: Actor, email: str, body: Correction) -> LearnerShape:
    """Correct a learner's address or name."""
    return learners.correct(session, actor=actor, email=email, **body.given(email="new_email"))


@blueprint.get("/<email>/export")
@allowed(Role.MANAGER)
@gives()
def export(session: Session, actor: Actor, email: str) -> LearnerExport:
    """Export everything stored about a person."""
    return learners.export(session, actor=actor, email=email)


# Use the owner's login: row level security would hide traces outside the organization's tree.
@blueprint.post("/<email>/erase")
@allowed()
@gives()
def erase(session: Session, actor: Actor, email: str) -> Erasure:
    """End a person's access, and replace name and address by a pseudonym."""
    return learners.erase(session, actor=actor, email=email)
