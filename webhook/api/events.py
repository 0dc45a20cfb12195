"""Events: messages that sources posted, and their outcomes."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http import nudging
from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import gives
from worker.database.paging import Page
from worker.redemption import inbox
from worker.redemption.inbox import EventShape
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("events", __name__, url_prefix="/api/v1/events", tag="Events")


@blueprint.get("")
@allowed(*inbox.READERS)
@gives()
@blueprint.input(query(inbox.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[inbox.Filters]) -> Page[EventShape]:
    """List events, newest first."""
    return inbox.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.get("/<event>")
@allowed(*inbox.READERS)
@gives()
def show(session: Session, actor: Actor, event: str) -> EventShape:
    """Show an event."""
    return inbox.show(session, actor=actor, event=event)


@blueprint.post("/<event>/retry")
@allowed(Role.MANAGER)
@gives()
def retry(session: Session, actor: Actor, event: str) -> EventShape:
    """Retry a failed event."""
    nudging.after_commit("settle")
    return inbox.retry(session, actor=actor, event=event)
