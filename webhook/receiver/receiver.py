"""The receiver: `POST /webhooks/{source}` verifies, records, enqueues and answers."""

import hashlib

import structlog
from apiflask import APIBlueprint
from flask import Response, g, request
from typing_extensions import TypedDict

from webhook.http import waiting
from webhook.http.nudging import nudger
from webhook.http.shapes import answer
from webhook.receiver import messages, noting, signatures, together
from webhook.receiver.signatures import Signed
from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.database.lookup import Id
from worker.redemption import inbox
from worker.redemption.inbox import EventShape
from worker.tables.labels import EventStatus
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("receiver", __name__, tag="Webhooks")


class Accepted(TypedDict):
    """A message that is recorded and not yet decided."""

    event: Id
    """The event's id."""
    status: EventStatus
    """Whether it waits, or was set apart (a dead letter)."""
    url: str
    """The event's URL, for polling its outcome."""


class Decided(EventShape):
    """A message that is decided."""

    event: Id
    """The event's id, as in `Accepted`."""


waiting_room = waiting.WaitingRoom()


@blueprint.post("/webhooks/<source>")
def receive(source: str) -> Response:
    """Post a signed message.

    The worker judges the key. 202 means that the message is recorded durably and will be decided
    soon.
    """
    signed = None
    try:
        signed = signatures.read(request)
        door, recorded = _recorded(source, signed)
    except errors.KeypoolError as error:
        noting.refused(source, signed, error)
        raise
    noting.accepted(door.source_id, signed, recorded)
    structlog.contextvars.bind_contextvars(event_id=recorded.event_id)
    if recorded.is_new:
        g.recorded = recorded.event_id
        nudger.ask("settle")  # after the commit; if the nudge is lost, the sweep finds the event
    return _answer(door, recorded)


def _recorded(source: str, signed: Signed) -> tuple[inbox.Door, inbox.Recorded]:
    if found := together.record(source, signed):
        door, event_id = found
        return door, inbox.Recorded(event_id, EventStatus.RECORDED, is_new=True)
    # Autocommit: the record is committed at once.
    with connections.connection(Login.RECEIVER) as connection:
        door = signatures.verify(connection, source, signed)
        together.remember(source, door)
        recorded = inbox.record(
            connection,
            source_id=door.source_id,
            organization_id=door.organization_id,
            webhook_id=signed.webhook_id,
            body_hash=hashlib.sha256(signed.body).digest(),
            message=messages.read(signed.body),
        )
    return door, recorded


def _answer(door: inbox.Door, recorded: inbox.Recorded) -> Response:
    waited = _wait(recorded)
    if waited is None and recorded.status is EventStatus.RECORDED:
        return _accepted(str(recorded.event_id), recorded.status)
    entry = inbox.entry(door.source_id)
    sender = Actor(f"source {door.source_id}", Role.SENDER, door.organization_id, entry)
    with connections.session(Login.RECEIVER, sees=sender.scope) as session:
        event = inbox.show(session, actor=sender, event=str(recorded.event_id))
    body = _decided(event) if event["outcome"] else _accepted(event["id"], event["status"])
    if waited is not None:
        body.headers["Preference-Applied"] = f"wait={waited}"
    return body


def _wait(recorded: inbox.Recorded) -> int | None:
    seconds = waiting.preferred(request.headers.get("Prefer"))
    if not seconds or recorded.status is not EventStatus.RECORDED:
        return None
    return seconds if waiting_room.wait(recorded.event_id, seconds) else None


def _decided(event: EventShape) -> Response:
    body: Decided = {**event, "event": event["id"]}
    return answer(body, 200)


def _accepted(event: str, status: EventStatus) -> Response:
    body: Accepted = {"event": event, "status": status, "url": f"/api/v1/events/{event}"}
    return answer(body, 202)
