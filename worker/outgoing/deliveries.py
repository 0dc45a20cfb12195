"""Deliveries: the outbox, the state of each delivery, and resending (dead letters too).

Triggers of schema.sql write the outbox in the transaction of the change. No row changes when a pool
runs low or expires soon: a sweep here finds those pools.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Unpack
from uuid import UUID

from pydantic import Field
from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.database.sweeping import Sweep, Swept
from worker.languages.phrasebooks import phrasebook
from worker.outgoing import endpoints, retries
from worker.redemption import outcomes
from worker.redemption.outcomes import Facts
from worker.tables.labels import DeliveryState, DeliveryType
from worker.tables.outgoing import Delivery, Endpoint
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role


class DeliveryBody(TypedDict):
    """What is sent to an endpoint."""

    type: DeliveryType
    """What happened, as a type."""
    timestamp: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When that happened."""
    data: dict[str, object]
    """The details; the fields depend on the type."""


class Attempt(TypedDict):
    """One attempt to deliver, and what the endpoint answered."""

    at: datetime
    """When it ended."""
    status: int | None
    """The answer's HTTP status; null if there was no answer."""
    error: str | None
    """Why it failed; null if it was accepted."""
    seconds: float
    """How long it took."""


class DeliveryShape(TypedDict):
    """One message to an endpoint, sent or still to be sent."""

    id: Id
    """The delivery's id."""
    webhook_id: str
    """The message's id; every retry has the same."""
    endpoint: Id
    """The endpoint that it is sent to."""
    url: str
    """The endpoint's URL."""
    type: DeliveryType
    """What happened, as a type."""
    event: Id | None
    """The event whose decision it tells; null for other types."""
    state: DeliveryState
    """Whether the endpoint accepted it."""
    attempts: int
    """How often it was tried."""
    happened_at: datetime
    """When it happened."""
    due_at: datetime | None
    """When it is tried next; null once it ended."""
    ended_at: datetime | None
    """When the endpoint accepted it, or when it was set apart (a dead letter)."""
    error: str | None
    """Why the last attempt failed."""
    answers: list[Attempt]
    """The latest attempts with their answers, oldest first; 20 at most."""
    body: DeliveryBody | None
    """What is sent; null after it was blanked (redacted)."""


class Resent(TypedDict):
    """How much is sent again."""

    resent: int
    """How many deliveries."""


# Resent, one may have ended long after what it tells of.
OLD = Sweep("delivery", "happened_at", over="ended_at < clock_now() - CAST(:kept AS interval)")


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which deliveries."""

    endpoint: str | None = by("To this endpoint, by id or address.", longest=2000)
    event: int | None = by("What tells the decision on this event, by its id.")
    since: datetime | None = by("Of what happened at this time or later.")
    failed: bool = by("Only dead letters: those that failed too often.", default=False)


ALL = Filters()

# A pool is low if fewer undistributed keys are left than the endpoint's threshold. It is reported
# once, until it is no longer low. A pool that never had a key, or is being filled, is not low. The
# mark and the delivery are written in one statement: of two sweeps at once, the second finds the mark.
TELL_LOW = text("""
    WITH figure AS MATERIALIZED (
        SELECT endpoint.id AS endpoint_id, endpoint.pool_low, pool.id AS pool_id, pool.name,
               organization.name AS organization, course.code AS course, tally.keys_left,
               tally.keys_left < endpoint.pool_low AS is_low
          FROM endpoint
          JOIN organization_ancestry AS below ON below.ancestor_id = endpoint.organization_id
          JOIN pool ON pool.organization_id = below.descendant_id
          JOIN organization ON organization.id = pool.organization_id
          JOIN course ON course.id = pool.course_id
         CROSS JOIN LATERAL (
               SELECT sum(issued) - sum(distributed) AS keys_left,
                      sum(issued + redeemed + retired) AS made
                 FROM pool_tally WHERE pool_tally.pool_id = pool.id) AS tally
         WHERE endpoint.removed_at IS NULL AND 'pool.low' = ANY (endpoint.types)
           AND course.archived_at IS NULL AND clock_now() < pool.expires_at AND tally.made > 0
           AND NOT EXISTS (SELECT FROM batch
                            WHERE batch.pool_id = pool.id AND batch.state IN ('queued', 'running'))),
    marked AS (
        INSERT INTO pool_alert (endpoint_id, pool_id, is_low)
        SELECT endpoint_id, pool_id, is_low FROM figure
         WHERE is_low OR EXISTS (SELECT FROM pool_alert AS told
                                  WHERE told.endpoint_id = figure.endpoint_id
                                    AND told.pool_id = figure.pool_id AND told.is_low)
        ON CONFLICT (endpoint_id, pool_id) DO UPDATE SET is_low = excluded.is_low
        WHERE pool_alert.is_low <> excluded.is_low
        RETURNING endpoint_id, pool_id, is_low)
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint_id, 'pool.low', jsonb_build_object(
               'pool', pool_id::text, 'name', name, 'organization', organization, 'course', course,
               'keys_left', keys_left, 'below', pool_low)
      FROM marked JOIN figure USING (endpoint_id, pool_id)
     WHERE marked.is_low
     ORDER BY pool_id, endpoint_id
    RETURNING id
""")

# Once for each expiry date that a pool is given, and only if a key could still be redeemed.
TELL_EXPIRING = text("""
    WITH near AS MATERIALIZED (
        SELECT endpoint.id AS endpoint_id, endpoint.pool_expiring_days, pool.id AS pool_id, pool.name,
               organization.name AS organization, course.code AS course, pool.expires_at, tally.issued
          FROM endpoint
          JOIN organization_ancestry AS below ON below.ancestor_id = endpoint.organization_id
          JOIN pool ON pool.organization_id = below.descendant_id
          JOIN organization ON organization.id = pool.organization_id
          JOIN course ON course.id = pool.course_id
         CROSS JOIN LATERAL (
               SELECT sum(issued) AS issued FROM pool_tally WHERE pool_tally.pool_id = pool.id) AS tally
         WHERE endpoint.removed_at IS NULL AND 'pool.expiring' = ANY (endpoint.types)
           AND course.archived_at IS NULL AND clock_now() < pool.expires_at
           AND pool.expires_at <= clock_now() + make_interval(days => endpoint.pool_expiring_days)
           AND tally.issued > 0),
    marked AS (
        INSERT INTO pool_alert (endpoint_id, pool_id, told_end)
        SELECT endpoint_id, pool_id, expires_at FROM near
        ON CONFLICT (endpoint_id, pool_id) DO UPDATE SET told_end = excluded.told_end
        WHERE pool_alert.told_end IS DISTINCT FROM excluded.told_end
        RETURNING endpoint_id, pool_id)
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint_id, 'pool.expiring', jsonb_build_object(
               'pool', pool_id::text, 'name', name, 'organization', organization, 'course', course,
               'expires_at', iso_instant(expires_at), 'keys_issued', issued,
               'within_days', pool_expiring_days)
      FROM marked JOIN near USING (endpoint_id, pool_id)
     ORDER BY pool_id, endpoint_id
    RETURNING id
""")

# Starts the retries anew; an attempt that is in progress is not interrupted.
RESEND = text(f"""
    UPDATE delivery SET {retries.ANEW}
     WHERE endpoint_id = :endpoint_id AND data IS NOT NULL
       AND (CAST(:ids AS bigint[]) IS NULL OR id = ANY (:ids))
       AND (CAST(:since AS timestamptz) IS NULL OR happened_at >= :since)
       AND (state = 'failed' OR NOT :failed)
    RETURNING id
""")  # noqa: S608  # a constant

RESET_FAILURES = text(
    "UPDATE endpoint SET failures = 0, rests_until = NULL WHERE id = :endpoint_id"
)


def tell_of_pools(session: Session) -> int:
    """Write a delivery for each pool that runs low or expires soon; gives their number."""
    ids = [session.scalars(tell).all() for tell in (TELL_LOW, TELL_EXPIRING)]
    return sum(map(len, ids))


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[DeliveryShape]:
    """List what endpoints of the actor's organizations were sent, newest first."""
    actor.require(Role.MANAGER)
    statement = _seen(actor)
    if filters.endpoint is not None:
        endpoint = endpoints.find(session, actor=actor, name=filters.endpoint)
        statement = statement.where(Delivery.endpoint_id == endpoint.id)
    if filters.event is not None:
        statement = statement.where(Delivery.event_id == filters.event)
    if filters.failed:
        statement = statement.where(Delivery.state == DeliveryState.FAILED)
    if filters.since is not None:
        statement = statement.where(Delivery.happened_at >= filters.since)
    return paged(session, statement, by=Delivery.id, shape=shape, newest_first=True, **page)


def show(session: Session, *, actor: Actor, delivery: str) -> DeliveryShape:
    """Show a delivery with its body."""
    actor.require(Role.MANAGER)
    delivery_id = int(delivery) if lookup.is_id(delivery) else -1
    row = session.execute(_seen(actor).where(Delivery.id == delivery_id)).one_or_none()
    if row is None:
        raise errors.NotFoundError(f"There is no delivery “{delivery}” in your organizations.")
    return shape(row)


def resend(
    session: Session,
    *,
    actor: Actor,
    endpoint: str,
    deliveries: Sequence[str] | None = None,
    since: datetime | None = None,
    failed: bool = False,
) -> Resent:
    """Send deliveries again, under the same ids: the named ones, or all since a time.

    `failed` selects only dead letters. A delivery whose body was blanked is not sent.

    Raises:
        InvalidInputError: neither ids nor a time nor `failed` is given.
        NotFoundError: one of the ids is not a delivery of the endpoint, or its body was blanked.
    """
    actor.require(Role.MANAGER)
    found = endpoints.find(session, actor=actor, name=endpoint)
    if not deliveries and since is None and not failed:
        raise errors.InvalidInputError(
            "Say which: deliveries by id, those since a time, or the failed ones.", field="since"
        )
    ids = [int(one) if lookup.is_id(one) else -1 for one in deliveries] if deliveries else None
    asked = {"endpoint_id": found.id, "ids": ids, "since": since, "failed": failed}
    sent = list(session.scalars(RESEND, asked))
    if ids and not failed and since is None and (missing := set(ids) - set(sent)):
        raise errors.NotFoundError(
            f"The endpoint has no delivery “{min(missing)}”, or its body is kept no longer."
        )
    session.execute(RESET_FAILURES, {"endpoint_id": found.id})
    history.record(
        session,
        actor=actor,
        action="deliveries resent",
        thing="endpoint",
        thing_ids=found.id,
        organization_id=found.organization_id,
        count=len(sent),
        since=since and since.isoformat(),
    )
    return {"resent": len(sent)}


def webhook_id(delivery_id: int, identity: UUID | None) -> str:
    """Give a delivery's `webhook-id`, the receiver's idempotency key: the same on every retry.

    It is random, so that nobody counts by it what others are sent. What an older release wrote has none,
    and keeps the id that its endpoint may know.
    """
    return f"msg_{identity.hex if identity else delivery_id}"


def body(type_: str, happened_at: datetime, data: dict[str, Any]) -> DeliveryBody:
    """Give what is sent: type, time and data; an outcome comes with its sentence (R3).

    The sentence is made as of that time, in the language of the learner's organization.
    """
    if "outcome" in data:
        sent = {name: value for name, value in data.items() if name != "reader"}
        data = sent | {"message": _message(data, happened_at)}
    moment = happened_at.isoformat().replace("+00:00", "Z")
    return {"type": DeliveryType(type_), "timestamp": moment, "data": data}


def _message(data: dict[str, Any], now: datetime) -> str:
    """Say a decision as it is sent, whoever reads it here; one of an older release in UTC."""
    reader: dict[str, str | None] = data.get("reader", {})
    facts = Facts(
        reader.get("time_zone") or "UTC",
        now=now,
        ends=_instant(data["access_expires_at"]),
        limit=_instant(reader.get("limit")),
    )
    return outcomes.message(phrasebook(reader.get("locale")), data["outcome"], facts)


def _instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def encoded(content: Mapping[str, Any]) -> bytes:
    """Give a body as bytes, always the same, because they are signed."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def shape(row: Selected) -> DeliveryShape:
    """Give a delivery's public fields."""
    delivery: Delivery = row.Delivery
    data = delivery.data
    waits = delivery.state is DeliveryState.WAITING
    return {
        "id": str(delivery.id),
        "webhook_id": webhook_id(delivery.id, delivery.identity),
        "endpoint": str(delivery.endpoint_id),
        "url": row.url,
        "type": delivery.type,
        "event": str(delivery.event_id) if delivery.event_id else None,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "happened_at": delivery.happened_at,
        "due_at": delivery.due_at if waits else None,
        "ended_at": delivery.ended_at,
        "error": delivery.error,
        "answers": [_attempt(one) for one in delivery.answers or ()],
        "body": body(delivery.type, delivery.happened_at, data) if data else None,
    }


def _attempt(kept: dict[str, Any]) -> Attempt:
    return {
        "at": datetime.fromisoformat(kept["at"]),
        "status": kept["status"],
        "error": kept["error"],
        "seconds": kept["seconds"],
    }


def _seen(actor: Actor) -> Select[Any]:
    columns: list[Any] = [Delivery, Endpoint.url]
    return (
        select(*columns)
        .join(Endpoint, Endpoint.id == Delivery.endpoint_id)
        .where(actor.sees(Endpoint.organization_id))
        .execution_options(populate_existing=True)  # SQL changed what the session may remember
    )


def remove_old(session: Session, *, kept: timedelta, after: int, limit: int) -> Swept:
    """Remove deliveries that ended longer ago than `kept`, of the next `limit` after an id."""
    return OLD.remove(session, kept=kept, after=after, limit=limit)
