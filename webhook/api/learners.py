"""Learners: what is held on a person."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import Given, Paging
from worker.learning import learners
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("learners", __name__, url_prefix="/api/v1/learners", tag="Learners")


@blueprint.get("/<email>")
@allowed(Role.MANAGER, Role.ANALYST)
@versioned(learners.find)
@blueprint.output(shapes.Learner)
@blueprint.input(Paging, location="query", arg_name="query")
def show(session: Session, actor: Actor, email: str, query: Paging) -> Any:
    """Show a learner with every assignment, a page of them at a time."""
    return learners.show(session, actor=actor, email=email, **query.page())


@blueprint.patch("/<email>")
@allowed(Role.MANAGER)
@versioned(learners.find)
@blueprint.output(shapes.Learner)
@blueprint.input(shapes.Correction, arg_name="body")
def correct(session: Session, actor: Actor, email: str, body: shapes.Correction) -> Any:
    """Correct a learner's address or name."""
    return learners.correct(session, actor=actor, email=email, **body.given(email="new_email"))


@blueprint.get("/<email>/export")
@allowed(Role.MANAGER)
@blueprint.output(Given)
def export(session: Session, actor: Actor, email: str) -> Any:
    """Give everything held on a person."""
    return learners.export(session, actor=actor, email=email)


# An organization's own sight ends at its tree, where a person's traces need not.
@blueprint.post("/<email>/erase")
@allowed()
@blueprint.output(Given)
def erase(session: Session, actor: Actor, email: str) -> Any:
    """End a person's access and put a pseudonym in place of name and address."""
    return learners.erase(session, actor=actor, email=email)
