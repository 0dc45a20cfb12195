"""The inbox: webhook messages, each recorded exactly once (idempotent by `webhook-id`), and their outcomes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, LiteralString, Unpack

from psycopg import Connection
from sqlalchemy import ColumnElement, Select, case, func, select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup, paging
from worker.database.connections import Entry
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged, within
from worker.languages import readers
from worker.redemption import outcomes
from worker.redemption.outcomes import Facts
from worker.settings import settings
from worker.tables.labels import GRANTED, AssignmentStatus, EventStatus, EventType
from worker.tables.learning import Assignment
from worker.tables.redemption import Event
from worker.tables.tenancy import Organization
from worker.tenancy import history, secrets, web_keys
from worker.tenancy.actors import Actor, Role


class EventShape(TypedDict):
    """A webhook message, and what became of it."""

    id: Id
    """The event's id."""
    type: EventType
    """The message's type."""
    source: Id
    """The source that sent it."""
    webhook_id: str
    """The `webhook-id` that the sender gave it."""
    status: EventStatus
    """Whether it was decided."""
    outcome: str | None
    """What was decided, as a stable code; null until then."""
    message: str | None
    """That outcome in a sentence for the learner: in the language asked for, else their organization's."""
    assignment: Id | None
    """The assignment that it made, or was about."""
    assignment_status: AssignmentStatus | None
    """The assignment's status now."""
    access_expires_at: datetime | None
    """When its access ends, or ended."""
    received_at: datetime
    """When the message was received."""
    settled_at: datetime | None
    """When it was decided."""
    error: str | None
    """Why it was set apart (a dead letter)."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which events."""

    webhook_id: str | None = by("The one that its sender gave this id.", longest=128)
    type: EventType | None = by("Those of this type.")
    status: EventStatus | None = by("Those that are so.")
    since: datetime | None = by("Received at this time or later.")
    until: datetime | None = by("Received before this time.")
    failed: bool = by("Only dead letters: those that failed too often.", default=False)
    late: bool = by(
        "Only those that have waited for their decision for more than five minutes.", default=False
    )


ALL = Filters()
LATE = timedelta(minutes=5)  # an undecided event has waited too long, for the audit too

# Outcomes that gave what was asked for.
GOOD = (*GRANTED, "launched", "ended")

READERS = (Role.MANAGER, Role.ANALYST, Role.SENDER)

# One query gives all that the receiver needs of a source. A signature's age is checked by the
# unshifted clock (now, not clock_now), since KEYPOOL_CLOCK_OFFSET does not shift the sender's.
OPEN_DOOR = """
    SELECT organization_id, encrypted, extract(epoch FROM now())::bigint AS at
      FROM find_source(%(source_id)s)
"""

# Makes the organization's rows visible to this transaction (with autocommit: to this statement).
SEEN = "enter_source(%(source_id)s, %(proofs)s)"
SEE = f"SELECT {SEEN}"

INSERT = """
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                       type, data)
    SELECT %(source_id)s, %(organization_id)s, %(learner_organization_id)s, %(webhook_id)s,
           %(body_hash)s, CAST(%(type)s AS event_type), CAST(%(data)s AS jsonb)
     WHERE {seen} IS NOT NULL {unless}
        ON CONFLICT ON CONSTRAINT event_is_recorded_once DO NOTHING
    RETURNING id
"""
GUESSING_PAUSE = """guessing_pause(
    %(source_id)s, %(email)s, %(guess_window)s, %(guesses_per_source)s, %(guesses_per_learner)s)"""

# A refused message inserts no row. Only then does a second statement find the reason, so the
# usual case is one statement.
RECORD = INSERT.format(seen=SEEN, unless="")
RECORD_REDEMPTION = INSERT.format(seen=SEEN, unless=f"AND {GUESSING_PAUSE} IS NULL")
SECONDS_TO_WAIT = f"SELECT ceil(extract(epoch FROM {GUESSING_PAUSE}))::int"  # noqa: S608  # a constant

REPEATED = """
    SELECT id, status, body_hash = %(body_hash)s AS same_body FROM event
     WHERE source_id = %(source_id)s AND webhook_id = %(webhook_id)s
"""

# Undecided and failed events keep their body, and guesses as long as they count for the rate limit.
BLANK = text("""
    WITH old AS (
        SELECT id FROM event
         WHERE status = 'settled' AND data IS NOT NULL
           AND settled_at < clock_now() - greatest(CAST(:kept AS interval), CAST(:guesses AS interval))
         ORDER BY settled_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE event SET data = NULL FROM old WHERE event.id = old.id RETURNING event.id
""")

BELOW = """
    SELECT id FROM organization JOIN organization_ancestry ON descendant_id = id
     WHERE name = %(name)s AND ancestor_id = %(organization_id)s
"""


@dataclass(frozen=True)
class Door:
    """A source for the receiver: its organization, its live secrets as the database keeps them and as they
    are, and the time (unshifted).
    """

    source_id: int
    organization_id: int
    sealed: list[bytes]
    secrets: list[bytes]
    at: int


@dataclass(frozen=True)
class Message:
    """A valid webhook message; `organization` is the learner's, by name."""

    type: EventType
    data: dict[str, Any]
    organization: str | None = None

    @property
    def email(self) -> str | None:
        """The learner's address, where the message asks for a redemption."""
        return self.data["learner"]["email"] if "learner" in self.data else None


@dataclass(frozen=True)
class Recorded:
    """A recorded event; `is_new` is false if the same message was received before."""

    event_id: int
    status: EventStatus
    is_new: bool


def open_door(connection: Connection, *, source_id: int) -> Door | None:
    """Find a source, None where it is unknown.

    It takes the driver's connection, as `record` does: both run for every message, and SQLAlchemy
    would double their cost. Works with the web's login before any tenancy is set.
    """
    rows = connection.execute(OPEN_DOOR, {"source_id": source_id}).fetchall()
    if not rows:
        return None
    organization_id, _, at = rows[0]
    sealed = [row[1] for row in rows]
    return Door(source_id, organization_id, sealed, [_decrypted(one) for one in sealed], at)


def record(
    connection: Connection,
    *,
    source_id: int,
    organization_id: int,
    webhook_id: str,
    body_hash: bytes,
    message: Message,
) -> Recorded:
    """Record a message once, however often it is sent (idempotent). Committed if the connection autocommits.

    Raises:
        WebhookIdReusedError: the source used this id before with another body.
        InvalidInputError: the learner's organization is not the source's or a descendant.
        TooManyGuessesError: rate limit: the source or the learner's address sent too many wrong keys.
    """
    parameters = {
        "source_id": source_id,
        "proofs": _proofs(source_id),
        "organization_id": organization_id,
        "learner_organization_id": _learners_place(connection, source_id, organization_id, message),
        "webhook_id": webhook_id,
        "body_hash": body_hash,
        "type": message.type,
        "data": json.dumps(message.data),
        "email": message.email,
        "guess_window": settings().guess_window,
        "guesses_per_source": settings().guesses_per_source,
        "guesses_per_learner": settings().guesses_per_learner,
    }
    event_id = _inserted(connection, parameters)
    if event_id is not None:
        return Recorded(event_id, EventStatus.RECORDED, is_new=True)
    return _repeated(connection, parameters)


def entry(source_id: int) -> Entry:
    """Give how the web enters as a source, whose message's signature it has verified."""
    return Entry("enter_source", (source_id, _proofs(source_id)))


def show(session: Session, *, actor: Actor, event: str) -> EventShape:
    """Give an event of the actor's organizations with its outcome and the assignment's access."""
    actor.require(*READERS)
    found = find(session, actor=actor, event=event)
    return shape(session.execute(_rows().where(Event.id == found.id)).one())


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[EventShape]:
    """List the actor's events, newest first; for instance one message's, or those of a period."""
    actor.require(*READERS)
    chosen = [actor.sees(Event.organization_id), *_chosen(filters)]
    found = select(Event.id).where(*chosen)
    return paged(session, _rows(), by=Event.id, shape=shape, newest_first=True, found=found, **page)


def total(session: Session, *, actor: Actor, filters: Filters, most: int | None = None) -> int:
    """Count the events that the list would show, as `paging.total` does."""
    actor.require(*READERS)
    events = select(Event.id).where(actor.sees(Event.organization_id), *_chosen(filters))
    return paging.total(session, events, most)


def _chosen(filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.webhook_id is not None:
        yield Event.webhook_id == filters.webhook_id
    yield from within(Event.received_at, filters.since, filters.until)
    if filters.type is not None:
        yield Event.type == filters.type
    if filters.status is not None:
        yield Event.status == filters.status
    if filters.failed:
        yield Event.status == EventStatus.FAILED
    if filters.late:
        yield func.is_undecided(Event.status, Event.waits_for)
        yield Event.received_at < func.clock_now() - LATE


def retry(session: Session, *, actor: Actor, event: str) -> EventShape:
    """Retry a failed event (a dead letter): put it back into the queue as if it had just been recorded.

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


def blank_old(session: Session, *, kept: timedelta, limit: int) -> int:
    """Blank the bodies of up to `limit` events that were decided longer ago than `kept` (D1).

    Id and hash stay, so a repeated message is still recognized.
    """
    asked = {"kept": kept, "guesses": settings().guess_window, "limit": limit}
    return len(session.scalars(BLANK, asked).all())


def find(session: Session, *, actor: Actor, event: str) -> Event:
    """Find an event of the actor's organizations by id; NotFoundError where there is none."""
    within = [actor.sees(Event.organization_id)]
    return lookup.find(session, Event, thing="event", name=event, within=within)


def shape(row: Selected) -> EventShape:
    """Give an event's public fields."""
    event: Event = row.Event
    return {
        "id": str(event.id),
        "type": event.type,
        "source": str(event.source_id),
        "webhook_id": event.webhook_id,
        "status": event.status,
        "outcome": event.outcome,
        "message": _message(event.outcome, row) if event.outcome else None,
        "assignment": str(event.assignment_id) if event.assignment_id else None,
        "assignment_status": row.assignment_status,
        "access_expires_at": row.ends,
        "received_at": event.received_at,
        "settled_at": event.settled_at,
        "error": event.error,
    }


def _message(outcome: str, row: Selected) -> str:
    facts = Facts(row.time_zone, now=row.now, ends=row.ends, limit=row.limit)
    return outcomes.message(readers.book_for(row.locale), outcome, facts)


def _proofs(source_id: int) -> bytes:
    return web_keys.proofs("source", source_id)


def _learners_place(
    connection: Connection, source_id: int, organization_id: int, message: Message
) -> int | None:
    if message.email is None:
        return None
    if message.organization is None:
        return organization_id
    asked = {
        "name": message.organization,
        "organization_id": organization_id,
        "source_id": source_id,
        "proofs": _proofs(source_id),
    }
    with connection.transaction():
        connection.execute(SEE, asked)
        return _one(connection, BELOW, asked)


def _inserted(connection: Connection, parameters: Mapping[str, object]) -> int | None:
    if parameters["email"] is None:
        return _one(connection, RECORD, parameters)
    if parameters["learner_organization_id"] is None:
        return None
    return _one(connection, RECORD_REDEMPTION, parameters)


def _repeated(connection: Connection, parameters: Mapping[str, object]) -> Recorded:
    with connection.transaction():
        connection.execute(SEE, parameters)
        before = connection.execute(REPEATED, parameters).fetchone()
    if before is None:
        raise _kept_out(connection, parameters)
    event_id, status, same_body = before
    if not same_body:
        raise errors.WebhookIdReusedError
    return Recorded(event_id, EventStatus(status), is_new=False)


def _one(
    connection: Connection, statement: LiteralString, parameters: Mapping[str, object]
) -> int | None:
    """Give the single number that a statement returns, or None if it returns no row."""
    row = connection.execute(statement, parameters).fetchone()
    return int(row[0]) if row and row[0] is not None else None


def _kept_out(connection: Connection, parameters: Mapping[str, object]) -> errors.KeypoolError:
    if parameters["learner_organization_id"] is None:
        return errors.InvalidInputError(
            "The organization is not the source's or one of its descendants.",
            field="data.organization",
        )
    wait = _one(connection, SECONDS_TO_WAIT, parameters)
    return errors.TooManyGuessesError(retry_after=max(1, wait or 0))


# Decrypted secrets are cached, since each message needs one. Memory holds the encryption key anyway.
_decrypted = lru_cache(maxsize=4096)(secrets.decrypt)


def _rows() -> Select[Any]:
    """Select events with the access that they led to, and what their sentence tells."""
    learners = func.coalesce(
        Event.learner_organization_id, Assignment.organization_id, Event.organization_id
    )
    refused = Event.outcome.in_(("pool_not_started", "pool_expired"))
    columns: list[Any] = [
        Assignment.status.label("assignment_status"),
        Assignment.expires_at.label("ends"),
        Organization.time_zone,
        Organization.locale,
        func.clock_now().label("now"),
        case((refused, func.limit_of_attempt(Event.id))).label("limit"),
    ]
    return (
        select(Event, *columns)
        .join(Assignment, Assignment.id == Event.assignment_id, isouter=True)
        .join(Organization, Organization.id == learners)
    )
