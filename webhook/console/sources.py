"""Sources and their events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from flask import current_app, render_template, request
from sqlalchemy.orm import Session

from webhook.console import plotting
from webhook.console.access import known, page
from webhook.console.answers import done, failed
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.console.plotting import Chart
from webhook.console.words import number, words
from webhook.http import inward, nudging
from webhook.http.inward import Tested
from worker import requests
from worker.database import connections
from worker.database.connections import Login
from worker.outgoing import deliveries
from worker.outgoing.deliveries import DeliveryShape
from worker.redemption import inbox, sources
from worker.redemption.inbox import EventShape
from worker.redemption.sources import SourceInClear
from worker.requests import RequestsAwayError, RequestsOfDay, SourceRequests
from worker.settings import settings
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role


class Happened(NamedTuple):
    """What happened when; if it is that something was sent, the delivery."""

    at: datetime
    what: str
    delivery: DeliveryShape | None = None


SNIPPETS = {"curl": "curl", "python": "Python", "node": "Node"}

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


@blueprint.get("/sources/<source>", endpoint="source")
@page(Role.MANAGER)
def source_page(session: Session, actor: Actor, source: str) -> Any:
    """Show a source: its address, examples, and what it got of late."""
    shown = sources.show(session, actor=actor, source=source)
    address = (settings().public_url or request.host_url).rstrip("/") + shown["url"]
    texts = [(name, label, _snippet(name, address)) for name, label in SNIPPETS.items()]
    latest = _latest(session, actor, shown["id"], last=plotting.days_shown())
    listed = [
        one
        for one in (latest["requests"] if latest else [])
        if "refused" not in request.args or one["event"] is None
    ]
    return render_template(
        "source.html", it=shown, address=address, snippets=texts, latest=latest, requests=listed,
        by_day=latest and _by_day(latest["per_day"]),
    )  # fmt: skip


@blueprint.post("/sources/<source>/test")
@known(Role.MANAGER, on="source")
def test_source(actor: Actor, source: str) -> Any:
    """Post a signed message as the source that redeems nothing, and tell what became of it."""
    with connections.session(Login.WEB, sees=actor.scope) as session:
        key = sources.signing(session, actor=actor, source=source)
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # werkzeug's proxy
    tested = inward.post_test(app, path=key.path, secret=key.secret, now=key.at)
    return (done if tested["ok"] else failed)(_told(tested), "source", source=source)


@blueprint.get("/events", endpoint="events")
@page(*READERS)
def events_page(session: Session, actor: Actor) -> Any:
    """List events, newest first."""
    filters = chosen(inbox.Filters)
    listed = inbox.listing(session, actor=actor, filters=filters, **place())
    return render_template("events.html", listed=listed, filtered=inbox.Filters)


@blueprint.get("/events/<event>", endpoint="event")
@page(*READERS)
def event_page(session: Session, actor: Actor, event: str) -> Any:
    """Show an event: what became of it and when; to managers what was sent, and what went out."""
    shown, sent, told = inbox.show(session, actor=actor, event=event), None, list[DeliveryShape]()
    shows_body = actor.role in (Role.OPERATOR, Role.MANAGER)
    if shows_body:
        sent = inbox.find(session, actor=actor, event=event).data
        of_event = deliveries.Filters(event=int(shown["id"]))
        told = deliveries.listing(session, actor=actor, filters=of_event).items
    return render_template(
        "event.html", it=shown, body=sent, shows_body=shows_body, timeline=_timeline(shown, told),
        source=sources.name(session, source_id=int(shown["source"])), good=inbox.GOOD,
    )  # fmt: skip


@blueprint.post("/events/<event>/retry")
@page(Role.MANAGER, on="events")
def retry_event(session: Session, actor: Actor, event: str) -> Any:
    """Retry a failed event."""
    inbox.retry(session, actor=actor, event=event)
    nudging.after_commit("settle")
    return done("The event waits to be settled again.", "events")


def _snippet(name: str, address: str) -> str:
    return render_template(f"snippets/{name}.txt", address=address)


def _latest(session: Session, actor: Actor, source: str, *, last: int) -> SourceRequests | None:
    try:
        return requests.of_source(session, actor=actor, source=source, last=last)
    except RequestsAwayError:
        return None


def _by_day(days: Sequence[RequestsOfDay]) -> Chart:
    """Draw a source's requests by day, the refused ones on top."""
    points = [
        plotting.point(
            one["day"],
            one["accepted"],
            f"{number(one['accepted'])} accepted, {number(one['refused'])} refused",
            refused=one["refused"],
        )
        for one in days
    ]
    return plotting.chart("Requests", points, ("accepted", "refused"))


def _told(tested: Tested) -> str:
    """Say what became of a test, and where it stopped if it did."""
    answer = tested["answer"]
    if tested["ok"]:
        return (
            f"The test went the whole way: signed, recorded as event {answer['event']} and decided, "
            f"“{answer['message']}” That is right: it redeems nothing."
        )
    if tested["status"] == 202:
        return (
            f"The test is recorded as event {answer['event']}, but not decided after "
            f"{inward.WAIT_SECONDS} seconds: is a worker running?"
        )
    return f"The test came back with {tested['status']}: {answer.get('detail', '')}"


def _timeline(event: EventShape, told: Sequence[DeliveryShape] = ()) -> list[Happened]:
    """Give what happened to an event, and what went out because of it, oldest first."""
    happened = [Happened(event["received_at"], "Received and recorded")]
    if event["settled_at"]:
        happened.append(Happened(event["settled_at"], f"Decided: {words(event['outcome'] or '')}"))
    happened += [Happened(one["happened_at"], "Told", one) for one in reversed(told)]
    if event["access_expires_at"]:
        happened.append(Happened(event["access_expires_at"], "Access ends"))
    return sorted(happened, key=lambda one: one.at)  # of equal times, in this order


def _sources(session: Session, actor: Actor, made: SourceInClear | None = None) -> Any:
    listed = sources.listing(session, actor=actor, filters=chosen(sources.Filters), **place())
    owners = organizations.in_sight(session, actor=actor)
    return render_template(
        "sources.html", listed=listed, owners=owners, made=made, filtered=sources.Filters
    )
