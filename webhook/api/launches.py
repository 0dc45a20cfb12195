"""Launches: a learner takes the training, and ends it; a webhook may tell the same."""

from apiflask import APIBlueprint
from flask import Response
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http import problems
from webhook.http.access import allowed
from webhook.http.shapes import gives
from worker.learning import launches
from worker.learning.assignments import LaunchShape
from worker.redemption import outcomes
from worker.tenancy.actors import Actor

blueprint = APIBlueprint("launches", __name__, url_prefix="/api/v1", tag="Assignments")

REFUSED = ("assignment_expired", "assignment_cancelled")


@blueprint.post("/assignments/<assignment>/launches")
@allowed(*launches.TELLERS)
@gives(201)
@blueprint.input(shapes.NewLaunch, arg_name="body")
def launch(
    session: Session, actor: Actor, assignment: str, body: shapes.NewLaunch
) -> LaunchShape | Response:
    """Record that a learner takes the training. One that is refused (409) is recorded too."""
    told = launches.begin(session, actor=actor, assignment=assignment, **body.given())
    if told["outcome"] in REFUSED:
        sentence = outcomes.message(told["outcome"], until=None)
        return problems.problem(told["outcome"], 409, sentence, launch=told["id"])
    return told


@blueprint.post("/launches/<launch>/end")
@allowed(*launches.TELLERS)
@gives()
@blueprint.input(shapes.LaunchEnd, arg_name="body")
def end(session: Session, actor: Actor, launch: str, body: shapes.LaunchEnd) -> LaunchShape:
    """Record that a training came to its end; of several ends the first counts."""
    return launches.end(session, actor=actor, launch=launch, **body.given())
