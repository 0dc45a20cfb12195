"""Events: what sources posted, and what became of it."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import nudging
from webhook.http.access import allowed
from webhook.http.instants import Instant
from webhook.http.shapes import Sorted, gives
from worker.database.paging import Page
from worker.redemption import inbox
from worker.redemption.inbox import EventShape
from worker.tables.labels import EventStatus, EventType
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("events", __name__, url_prefix="/api/v1/events", tag="Events")


class Query(Sorted):
    """Which events."""

    webhook_id: str | None = Field(None, max_length=128)
    type: EventType | None = None
    status: EventStatus | None = None
    since: Instant | None = Field(None, description="Received at this time or later.")
    until: Instant | None = Field(None, description="Received before this time.")
    failed: bool = Field(False, description="Only those that are set apart for a person.")


@blueprint.get("")
@allowed(*inbox.READERS)
@gives()
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Page[EventShape]:
    """List events, newest first."""
    return inbox.listing(session, actor=actor, **query.page(type="kind"))


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
    """Hand a failed event to the worker again."""
    nudging.after_commit("settle")
    return inbox.retry(session, actor=actor, event=event)
