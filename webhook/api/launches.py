"""Launches: a learner takes the training, and ends it; a webhook may tell the same."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http import problems
from webhook.http.access import allowed
from worker.learning import launches
from worker.redemption import outcomes
from worker.tenancy.actors import Actor

blueprint = APIBlueprint("launches", __name__, url_prefix="/api/v1", tag="Assignments")

REFUSED = ("assignment_expired", "assignment_cancelled")


@blueprint.post("/assignments/<assignment>/launches")
@allowed(*launches.TELLERS)
@blueprint.output(shapes.Launch, status_code=201)
@blueprint.input(shapes.NewLaunch, arg_name="body")
def launch(session: Session, actor: Actor, assignment: str, body: shapes.NewLaunch) -> Any:
    """Record that a learner takes the training. One that is refused (409) is recorded too."""
    told = launches.begin(session, actor=actor, assignment=assignment, **body.given())
    if told["outcome"] in REFUSED:
        sentence = outcomes.message(told["outcome"], until=None)
        return problems.problem(told["outcome"], 409, sentence, launch=told["id"])
    return told


@blueprint.post("/launches/<launch>/end")
@allowed(*launches.TELLERS)
@blueprint.output(shapes.Launch)
@blueprint.input(shapes.LaunchEnd, arg_name="body")
def end(session: Session, actor: Actor, launch: str, body: shapes.LaunchEnd) -> Any:
    """Record that a training came to its end; of several ends the first counts."""
    return launches.end(session, actor=actor, launch=launch, **body.given())
