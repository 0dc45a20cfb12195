"""Sessions: the browsers in which users of the console are signed in."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import gives
from worker.database.paging import Page
from worker.tenancy import sessions
from worker.tenancy.actors import Actor, Role
from worker.tenancy.sessions import SessionShape

blueprint = APIBlueprint("sessions", __name__, url_prefix="/api/v1/sessions", tag="Sessions")


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(sessions.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[sessions.Filters]) -> Page[SessionShape]:
    """List the console's sessions that go on, newest first."""
    return sessions.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("/<session_id>/end")
@allowed(Role.MANAGER)
@gives()
def end(session: Session, actor: Actor, session_id: str) -> SessionShape:
    """End a session at once; idempotent."""
    return sessions.end(session, actor=actor, ended=session_id)
