"""Launches: a learner starts and ends the training; webhooks can report the same."""

from apiflask import APIBlueprint
from flask import Response
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import problems
from webhook.http.access import allowed
from webhook.http.instants import Instant
from webhook.http.shapes import Taken, gives
from worker.learning import assignments, launches
from worker.learning.assignments import LaunchShape
from worker.tenancy.actors import Actor

blueprint = APIBlueprint("launches", __name__, url_prefix="/api/v1", tag="Assignments")

REFUSED_OUTCOMES = ("assignment_expired", "assignment_cancelled")


class NewLaunch(Taken):
    """A learner starts the training; `launch` is the sender's unique id for it."""

    launch: str = Field(min_length=1, max_length=200)
    launched_at: Instant | None = Field(None, description="Now, where it is not given.")


class LaunchEnd(Taken):
    """A training ended."""

    ended_at: Instant
    completed: bool | None = None
    score: float | None = Field(None, ge=-99_999, le=99_999, allow_inf_nan=False)


@blueprint.post("/assignments/<assignment>/launches")
@allowed(*launches.TELLERS)
@gives(201)
@blueprint.input(NewLaunch, arg_name="body")
def launch(
    session: Session, actor: Actor, assignment: str, body: NewLaunch
) -> LaunchShape | Response:
    """Record that a learner starts the training. A refused launch (409) is recorded too."""
    begun = launches.begin(session, actor=actor, assignment=assignment, **body.given())
    if begun["outcome"] in REFUSED_OUTCOMES:
        access = assignments.access(session, actor=actor, assignment=assignment)
        return problems.problem(begun["outcome"], 409, access.message, launch=begun["id"])
    return begun


@blueprint.post("/launches/<launch>/end")
@allowed(*launches.TELLERS)
@gives()
@blueprint.input(LaunchEnd, arg_name="body")
def end(session: Session, actor: Actor, launch: str, body: LaunchEnd) -> LaunchShape:
    """Record that a training ended; if that is recorded several times, the first counts."""
    return launches.end(session, actor=actor, launch=launch, **body.given())
