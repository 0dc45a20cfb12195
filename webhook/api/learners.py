"""Learners: what is held on a person."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import Paging, gives
from worker.learning import learners
from worker.learning.learners import Erasure, LearnerExport, LearnerShape
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("learners", __name__, url_prefix="/api/v1/learners", tag="Learners")


@blueprint.get("/<email>")
@allowed(Role.MANAGER, Role.ANALYST)
@versioned(learners.find)
@gives()
@blueprint.input(Paging, location="query", arg_name="query")
def show(session: Session, actor: Actor, email: str, query: Paging) -> LearnerShape:
    """Show a learner with every assignment, a page of them at a time."""
    return learners.show(session, actor=actor, email=email, **query.page())


@blueprint.patch("/<email>")
@allowed(Role.MANAGER)
@versioned(learners.find)
@gives()
@blueprint.input(shapes.Correction, arg_name="body")
def correct(session: Session, actor: Actor, email: str, body: shapes.Correction) -> LearnerShape:
    """Correct a learner's address or name."""
    return learners.correct(session, actor=actor, email=email, **body.given(email="new_email"))


@blueprint.get("/<email>/export")
@allowed(Role.MANAGER)
@gives()
def export(session: Session, actor: Actor, email: str) -> LearnerExport:
    """Give everything held on a person."""
    return learners.export(session, actor=actor, email=email)


# An organization's own sight ends at its tree, where a person's traces need not.
@blueprint.post("/<email>/erase")
@allowed()
@gives()
def erase(session: Session, actor: Actor, email: str) -> Erasure:
    """End a person's access and put a pseudonym in place of name and address."""
    return learners.erase(session, actor=actor, email=email)
