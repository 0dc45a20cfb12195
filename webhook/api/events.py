"""Events: what sources posted, and what became of it."""

from typing import Any

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http import nudging
from webhook.http.access import allowed
from webhook.http.instants import Instant
from webhook.http.shapes import Sorted
from worker.redemption import inbox
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
@blueprint.output(shapes.Events)
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Any:
    """List events, newest first."""
    return vars(inbox.listing(session, actor=actor, **query.page(type="kind")))


@blueprint.get("/<event>")
@allowed(*inbox.READERS)
@blueprint.output(shapes.Event)
def show(session: Session, actor: Actor, event: str) -> Any:
    """Show an event."""
    return inbox.show(session, actor=actor, event=event)


@blueprint.post("/<event>/retry")
@allowed(Role.MANAGER)
@blueprint.output(shapes.Event)
def retry(session: Session, actor: Actor, event: str) -> Any:
    """Hand a failed event to the worker again."""
    nudging.after_commit("settle")
    return inbox.retry(session, actor=actor, event=event)
