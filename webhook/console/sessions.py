"""Sessions: the browsers in which users are signed in."""

from typing import Any

from flask import render_template
from sqlalchemy.orm import Session

from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from worker.tenancy import sessions
from worker.tenancy.actors import Actor, Role


@blueprint.get("/sessions", endpoint="sessions")
@page(Role.MANAGER)
def sessions_page(session: Session, actor: Actor) -> Any:
    """List the sessions that go on, newest first, or those of one user."""
    filters = chosen(sessions.Filters)
    listed = sessions.listing(session, actor=actor, filters=filters, **place())
    return render_template("sessions.html", listed=listed, filtered=sessions.Filters)


@blueprint.post("/sessions/<ended>/end")
@page(Role.MANAGER, on="sessions")
def end_session(session: Session, actor: Actor, ended: str) -> Any:
    """End a session at once."""
    sessions.end(session, actor=actor, ended=ended)
    return done("That session is over.", "sessions")
