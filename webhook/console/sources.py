"""Sources and their events."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen
from webhook.console.frame import blueprint
from webhook.http import nudging
from worker.redemption import inbox, sources
from worker.redemption.sources import SourceInClear
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

READERS = (Role.MANAGER, Role.ANALYST, Role.SENDER)


@blueprint.get("/sources", endpoint="sources")
@page(Role.MANAGER)
def sources_page(session: Session, actor: Actor) -> Any:
    """List sources."""
    return _sources(session, actor)


@blueprint.post("/sources")
@page(Role.MANAGER, on="sources")
def add_source(session: Session, actor: Actor) -> Any:
    """Add a source, and show its secret once."""
    fields = {name: request.form.get(name, "") for name in ("name", "organization")}
    return _sources(session, actor, made=sources.add(session, actor=actor, **fields))


@blueprint.post("/sources/<source>/rotate")
@page(Role.MANAGER, on="sources")
def rotate_source(session: Session, actor: Actor, source: str) -> Any:
    """Give a source a new secret, shown once; the old one stays valid for a day."""
    return _sources(session, actor, made=sources.rotate(session, actor=actor, source=source))


@blueprint.get("/events", endpoint="events")
@page(*READERS)
def events_page(session: Session, actor: Actor) -> Any:
    """List events, newest first."""
    filters, after = chosen(inbox.Filters), request.args.get("after")
    listed = inbox.listing(session, actor=actor, filters=filters, after=after, limit=50)
    return render_template("events.html", listed=listed, filtered=inbox.Filters)


@blueprint.post("/events/<event>/retry")
@page(Role.MANAGER, on="events")
def retry_event(session: Session, actor: Actor, event: str) -> Any:
    """Retry a failed event."""
    inbox.retry(session, actor=actor, event=event)
    nudging.after_commit("settle")
    return done("The event waits to be settled again.", "events")


def _sources(session: Session, actor: Actor, made: SourceInClear | None = None) -> Any:
    listed = sources.listing(session, actor=actor)
    owners = organizations.listing(session, actor=actor)
    return render_template("sources.html", listed=listed, owners=owners, made=made)
