"""The inbox: webhook messages, each recorded once and for good, and what became of them."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select, text
from sqlalchemy.orm import Session

from worker import errors, history, lookup, redemption, sources
from worker.actors import Actor, Role
from worker.models import Assignment, Event, EventStatus, EventType
from worker.paging import Page, paged
from worker.settings import settings

READERS = (Role.MANAGER, Role.ANALYST, Role.SENDER)

# One look gives all that the receiver must know of a source, and opens its organization's rows to
# the transaction. A signature's age is judged by the unshifted clock (now, not clock_now): senders
# sign with theirs, which KEYPOOL_CLOCK_OFFSET does not reach.
OPEN_DOOR = text("""
    SELECT organization_id, encrypted, extract(epoch FROM now())::bigint AS at,
           set_config('keypool.organization', organization_id::text, true)
      FROM find_source(:source_id)
""")

INSERT = """
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                       type, data)
    SELECT :source_id, :organization_id, :learner_organization_id, :webhook_id, :body_hash,
           CAST(:type AS event_type), CAST(:data AS jsonb)
    {unless}
        ON CONFLICT ON CONSTRAINT event_is_recorded_once DO NOTHING
    RETURNING id
"""
PAUSE = (
    "guessing_pause(:source_id, :email, :guess_window, :guesses_per_source, :guesses_per_learner)"
)

# What keeps a message out leaves no row; only then is it asked which it was. So the good road is
# one statement.
RECORD = text(INSERT.format(unless=""))
RECORD_REDEMPTION = text(INSERT.format(unless=f"WHERE {PAUSE} IS NULL"))
SECONDS_TO_WAIT = text(f"SELECT ceil(extract(epoch FROM {PAUSE}))::int")  # noqa: S608  # a constant

REPEATED = text("""
    SELECT id, status, body_hash = :body_hash AS same_body FROM event
     WHERE source_id = :source_id AND webhook_id = :webhook_id
""")

BELOW = text("""
    SELECT id FROM organization JOIN organization_ancestry ON descendant_id = id
     WHERE name = :name AND ancestor_id = :organization_id
""")


@dataclass(frozen=True)
class Door:
    """A source as the receiver knows it: whose it is, its live secrets, and the time (unshifted)."""

    source_id: int
    organization_id: int
    secrets: list[bytes]
    at: int


@dataclass(frozen=True)
class Message:
    """What a well-formed webhook message says; `organization` is the learner's, by name."""

    type: EventType
    data: dict[str, Any]
    organization: str | None = None

    @property
    def email(self) -> str | None:
        """The learner's address, where the message asks for a redemption."""
        return self.data["learner"]["email"] if "learner" in self.data else None


@dataclass(frozen=True)
class Recorded:
    """An event as the receiver left it; one that is not new came before under the same id."""

    event_id: int
    status: EventStatus
    is_new: bool


def open_door(connection: Connection, *, source_id: int) -> Door | None:
    """Find a source, None where it is unknown, and let the transaction see its organization.

    It takes a plain connection, as `record` does: both are done at every message, and an ORM
    session would cost as much again. Works with the web's login before any tenancy is set.
    """
    rows = connection.execute(OPEN_DOOR, {"source_id": source_id}).all()
    if not rows:
        return None
    live = [_decrypted(row.encrypted) for row in rows]
    return Door(source_id, rows[0].organization_id, live, rows[0].at)


def record(
    connection: Connection,
    *,
    source_id: int,
    organization_id: int,
    webhook_id: str,
    body_hash: bytes,
    message: Message,
) -> Recorded:
    """Record a message once, however often it is sent.

    Raises:
        WebhookIdReusedError: the source used this id before with another body.
        InvalidInputError: the learner's organization is not the source's or a descendant.
        TooManyGuessesError: the source or the learner's address sent too many wrong keys lately.
    """
    given = {
        "source_id": source_id,
        "organization_id": organization_id,
        "learner_organization_id": _learners_place(connection, organization_id, message),
        "webhook_id": webhook_id,
        "body_hash": body_hash,
        "type": message.type,
        "data": json.dumps(message.data),
        "email": message.email,
        "guess_window": settings().guess_window,
        "guesses_per_source": settings().guesses_per_source,
        "guesses_per_learner": settings().guesses_per_learner,
    }
    event_id = _inserted(connection, given)
    if event_id is not None:
        return Recorded(event_id, EventStatus.RECORDED, is_new=True)
    return _repeated(connection, given)


def show(session: Session, *, actor: Actor, event: str) -> dict[str, Any]:
    """Give an event of the actor's organizations with its outcome and what became of access."""
    actor.require(*READERS)
    found = find(session, actor=actor, event=event)
    return shape(session.execute(_rows().where(Event.id == found.id)).one())


def listing(
    session: Session,
    *,
    actor: Actor,
    webhook_id: str | None = None,
    since: datetime | None = None,
    failed: bool = False,
    after: str | None = None,
    limit: int = 100,
) -> Page:
    """List the actor's events, newest first: one message's, those since a time, the failed ones."""
    actor.require(*READERS)
    wanted = _rows().where(actor.sees(Event.organization_id))
    if webhook_id is not None:
        wanted = wanted.where(Event.webhook_id == webhook_id)
    if since is not None:
        wanted = wanted.where(Event.received_at >= since)
    if failed:
        wanted = wanted.where(Event.status == EventStatus.FAILED)
    return paged(
        session, wanted, by=Event.id, after=after, limit=limit, shape=shape, newest_first=True
    )


def retry(session: Session, *, actor: Actor, event: str) -> dict[str, Any]:
    """Hand a failed event to the settler again, as if it had just been recorded.

    Raises:
        NotFailedError: the event is waiting or decided; there is nothing to retry.
    """
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, event=event)
    session.refresh(found, with_for_update=True)
    if found.status is not EventStatus.FAILED:
        raise errors.NotFailedError
    history.record(
        session,
        actor=actor,
        action="event retried",
        thing="event",
        thing_ids=found.id,
        organization_id=found.organization_id,
        error=found.error,
    )
    found.status, found.error = EventStatus.RECORDED, None
    found.deaths, found.claim_limit = 0, None
    session.flush()
    return show(session, actor=actor, event=str(found.id))


def find(session: Session, *, actor: Actor, event: str) -> Event:
    """Find an event of the actor's organizations by id; NotFoundError where there is none."""
    within = [actor.sees(Event.organization_id)]
    return lookup.find(session, Event, thing="event", name=event, within=within)


def shape(row: Any) -> dict[str, Any]:
    """Give an event's public fields; `message` says the outcome to people."""
    event = row.Event
    return {
        "id": str(event.id),
        "type": event.type.value,
        "source": str(event.source_id),
        "webhook_id": event.webhook_id,
        "status": event.status.value,
        "outcome": event.outcome,
        "message": event.outcome and redemption.message(event.outcome, until=row.ends),
        "assignment": event.assignment_id and str(event.assignment_id),
        "assignment_status": row.assignment_status,
        "access_expires_at": row.ends,
        "received_at": event.received_at,
        "settled_at": event.settled_at,
        "error": event.error,
    }


def _learners_place(connection: Connection, organization_id: int, message: Message) -> int | None:
    if message.email is None:
        return None
    if message.organization is None:
        return organization_id
    asked = {"name": message.organization, "organization_id": organization_id}
    found: int | None = connection.execute(BELOW, asked).scalar_one_or_none()
    return found


def _inserted(connection: Connection, given: dict[str, Any]) -> int | None:
    if given["email"] is None:
        event_id: int | None = connection.execute(RECORD, given).scalar_one_or_none()
    elif given["learner_organization_id"] is None:
        event_id = None
    else:
        event_id = connection.execute(RECORD_REDEMPTION, given).scalar_one_or_none()
    return event_id


def _repeated(connection: Connection, given: dict[str, Any]) -> Recorded:
    before = connection.execute(REPEATED, given).one_or_none()
    if before is None:
        raise _kept_out(connection, given)
    if not before.same_body:
        raise errors.WebhookIdReusedError
    return Recorded(before.id, EventStatus(before.status), is_new=False)


def _kept_out(connection: Connection, given: dict[str, Any]) -> errors.KeypoolError:
    if given["learner_organization_id"] is None:
        return errors.InvalidInputError(
            "The organization is not the source's or one of its descendants.",
            field="data.organization",
        )
    wait = connection.execute(SECONDS_TO_WAIT, given).scalar_one()
    return errors.TooManyGuessesError(retry_after=max(1, wait or 0))


# A source's secret is asked for at each message; here it is as safe as the key that opens it.
_decrypted = lru_cache(maxsize=4096)(sources.decrypt)


def _rows() -> Select[Any]:
    access: list[ColumnElement[Any]] = [
        Assignment.status.label("assignment_status"),
        Assignment.expires_at.label("ends"),
    ]
    return select(Event, *access).join(
        Assignment, Assignment.id == Event.assignment_id, isouter=True
    )
