"""A learner's page: what the visitor's organizations know about a person."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import READERS, page
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker import errors
from worker.learning import learners
from worker.learning.learners import LearnerShape
from worker.redemption import attempts
from worker.tenancy.actors import Actor, Role


@blueprint.get("/learners/<email>")
@page(*READERS)
def learner(session: Session, actor: Actor, email: str) -> Any:
    """Show a person's assignments and attempts; only attempts, if nothing was granted yet."""
    tried = attempts.of_learner(session, actor=actor, email=email, limit=50)
    try:
        after = request.args.get("after")
        person = learners.show(session, actor=actor, email=email, after=after)
    except errors.NotFoundError:
        if not tried:
            raise
        person = _unknown(email)
    return render_template("learner.html", person=person, attempts=tried)


@blueprint.post("/learners/<email>")
@page(Role.MANAGER, on="learner")
def correct_learner(session: Session, actor: Actor, email: str) -> Any:
    """Correct a person's address or name."""
    new, name = request.form.get("email") or email, request.form.get("name") or None
    learners.correct(session, actor=actor, email=email, new_email=new, name=name)
    return done("It is corrected; what was before stays in the history.", "learner", email=new)


def _unknown(email: str) -> LearnerShape:
    """Give a person who is no learner but tried to redeem a key."""
    return {"email": email, "name": "", "organizations": [], "assignments": [], "next": None}
