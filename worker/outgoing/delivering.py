"""Delivering the outbox: signed posts to many endpoints at once, with retries.

A claim moves a delivery's due time into the future and commits that before the attempt. If the
deliverer dies, the delivery becomes due again, so delivery is at least once. One deliverer works at a
time. Each endpoint has a lane (a thread), so a slow one does not hold up the others, and a failing
one is paused: a circuit breaker.
"""

import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import metrics, signatures, tracing
from worker.database import connections, locks
from worker.logs import log
from worker.outgoing import deliveries, posting, retries
from worker.outgoing.retries import DELIVERIES
from worker.settings import settings
from worker.tenancy import secrets

LANES = 16  # endpoints that are posted to at once
CHUNK = 20  # deliveries of one endpoint that are posted on one connection
SHARE = 5.0  # seconds after which a lane stops, even if part of its chunk is left
LEASE = timedelta(seconds=60)  # timeout of a claim, longer than a lane takes
POLL_SECONDS = 0.5  # seconds between polls for due deliveries while lanes are busy

# Endpoints that have something due, are not paused, and have no lane yet.
HEAD = """
    endpoint CROSS JOIN LATERAL (
        SELECT delivery.due_at FROM delivery
         WHERE delivery.endpoint_id = endpoint.id AND delivery.state = 'waiting'
           AND delivery.due_at <= clock_now()
         ORDER BY delivery.due_at, delivery.id LIMIT 1) AS head
    WHERE endpoint.removed_at IS NULL AND coalesce(endpoint.rests_until <= clock_now(), true)"""

WAITING = text(f"SELECT EXISTS (SELECT FROM {HEAD})")  # noqa: S608  # a constant

# The endpoints that have waited longest, and the next few deliveries of each.
CLAIM = text(f"""
    WITH open AS MATERIALIZED (
        SELECT endpoint.id, endpoint.url FROM {HEAD} AND endpoint.id <> ALL (:busy)
         ORDER BY head.due_at, endpoint.id LIMIT :lanes),
    due AS MATERIALIZED (
        SELECT next.id, open.url FROM open
         CROSS JOIN LATERAL (
               SELECT delivery.id FROM delivery
                WHERE delivery.endpoint_id = open.id AND delivery.state = 'waiting'
                  AND delivery.due_at <= clock_now()
                ORDER BY delivery.due_at, delivery.id LIMIT :chunk
                  FOR NO KEY UPDATE SKIP LOCKED) AS next)
    UPDATE delivery
       SET {retries.CLAIMED}
      FROM due WHERE delivery.id = due.id
    RETURNING delivery.id, delivery.endpoint_id, due.url, delivery.type::text, delivery.happened_at,
              delivery.data
""")  # noqa: S608  # constants

SECRETS = text("""
    SELECT endpoint_id, encrypted FROM endpoint_secret
     WHERE endpoint_id = ANY (:endpoint_ids) AND (expires_at IS NULL OR clock_now() < expires_at)
     ORDER BY id DESC
""")

RESET_FAILURES = text("""
    UPDATE endpoint SET failures = 0, rests_until = NULL WHERE id = ANY (:ids) AND failures > 0
""")

PAUSE_FAILING = text(f"UPDATE endpoint SET {retries.PAUSED} WHERE id = ANY (:ids)")  # noqa: S608


@dataclass(frozen=True)
class Lane:
    """An endpoint's next deliveries, in order, and the secrets that sign them."""

    endpoint_id: int
    url: str
    secrets: list[bytes]
    claimed: list[Any]


@dataclass
class Outcome:
    """The result of a lane: ids delivered, the one that failed and why, ids not attempted."""

    endpoint_id: int
    taken: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    untried: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)  # those that the attempted deliveries tell of


def deliver_all(*, until: float) -> Counter[str]:
    """Deliver what is due, and count what was delivered, failed and set apart.

    It goes on until `until`, a time of time.monotonic. If another deliverer is at work, this one
    returns at once.
    """
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(LANES, thread_name_prefix="lane") as threads:
        busy: dict[Future[Outcome], int] = {}
        with connections.session() as holding:
            # Held while this transaction idles; if the deliverer freezes, the
            # database ends it after a minute.
            if not locks.take(holding, "delivering"):
                return counts
            while time.monotonic() < until:
                done = [future for future in busy if future.done()]
                lanes = connections.transaction(_turn, [f.result() for f in done], busy, counts)
                for future in done:
                    del busy[future]
                busy |= {threads.submit(_drive, lane): lane.endpoint_id for lane in lanes}
                if not busy:
                    break
                wait(busy, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        # The lock is released: others may deliver now. These lanes end within their time.
        connections.transaction(_record, [future.result() for future in busy], counts)
    return counts


def is_due(session: Session) -> bool:
    """Say whether there is something to deliver now."""
    return bool(session.scalar(WAITING))


def signed(
    secrets: Iterable[bytes], *, webhook_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Give a delivery's headers, signed with each secret (Standard Webhooks)."""
    signs = (signatures.sign(secret, webhook_id, timestamp, body) for secret in secrets)
    return {
        "content-type": "application/json",
        "user-agent": f"keypool/{version('keypool')}",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signs),
    }


def _turn(
    session: Session, done: list[Outcome], busy: dict[Future[Outcome], int], counts: Counter[str]
) -> list[Lane]:
    """Record the results of finished lanes, and claim deliveries for free lanes."""
    _record(session, done, counts)
    working = set(busy.values()) - {outcome.endpoint_id for outcome in done}
    return _claim(session, working) if len(working) < LANES else []


def _claim(session: Session, working: set[int]) -> list[Lane]:
    lease = LEASE + 2 * settings().endpoint_patience
    asked = {"busy": list(working), "lanes": LANES - len(working), "chunk": CHUNK, "lease": lease}
    claimed = session.execute(CLAIM, asked).all()
    lanes: dict[int, Lane] = {}
    for row in sorted(claimed, key=lambda row: row.id):
        lane = lanes.setdefault(row.endpoint_id, Lane(row.endpoint_id, row.url, [], []))
        lane.claimed.append(row)
    for row in session.execute(SECRETS, {"endpoint_ids": list(lanes)}):
        lanes[row.endpoint_id].secrets.append(_decrypted(row.encrypted))
    return list(lanes.values())


def _drive(lane: Lane) -> Outcome:
    """Post a lane's deliveries one after the other, up to the first that fails."""
    known = settings()
    outcome = Outcome(lane.endpoint_id)
    waiting = list(lane.claimed)
    until = time.monotonic() + SHARE
    patience = known.endpoint_patience.total_seconds()
    with posting.Receiver(lane.url, private=known.private_endpoints, patience=patience) as receiver:
        while waiting and not outcome.failed and time.monotonic() < until:
            row = waiting.pop(0)
            begun = time.monotonic()
            answer = _post(receiver, lane.secrets, row.id, row.type, row.happened_at, row.data)
            _note(row, answer, time.monotonic() - begun, outcome)
    outcome.untried = [row.id for row in waiting]
    return outcome


def _note(row: Any, answer: posting.Answer, seconds: float, outcome: Outcome) -> None:
    """Keep the result of one delivery, and what it tells of."""
    metrics.POST_SECONDS.observe(seconds)
    if answer.taken:
        outcome.taken.append(row.id)
    else:
        outcome.failed[row.id] = answer.error or "failed"
    if told := row.data.get("event"):
        outcome.events.append(int(told))
        named = {"keypool.delivery_id": row.id, "keypool.endpoint_id": outcome.endpoint_id}
        tracing.worked("deliver", [int(told)], seconds, delivered=answer.taken, **named)


def _post(
    receiver: posting.Receiver,
    secrets: list[bytes],
    delivery_id: int,
    type_: str,
    happened_at: datetime,
    data: dict[str, Any],
) -> posting.Answer:
    body = deliveries.encoded(deliveries.body(type_, happened_at, data))
    # The unshifted time: receivers check a signature's age by their own clock.
    now, name = int(time.time()), deliveries.webhook_id(delivery_id)
    return receiver.post(body, signed(secrets, webhook_id=name, timestamp=now, body=body))


def _record(session: Session, outcomes: list[Outcome], counts: Counter[str]) -> None:
    """Record the results of lanes: each delivery's state, and which endpoints are paused."""
    if not outcomes:
        return
    taken = [one for outcome in outcomes for one in outcome.taken]
    failed = {one: why for outcome in outcomes for one, why in outcome.failed.items()}
    DELIVERIES.succeeded(session, taken)
    DELIVERIES.untried(session, [one for outcome in outcomes for one in outcome.untried])
    session.execute(RESET_FAILURES, {"ids": [o.endpoint_id for o in outcomes if o.taken]})
    set_apart = DELIVERIES.failed(session, failed)
    session.execute(PAUSE_FAILING, {"ids": [o.endpoint_id for o in outcomes if o.failed]})
    counts.update({"delivered": len(taken), "failed": len(failed), "set apart": set_apart})
    for outcome in outcomes:
        log.info(
            "endpoint told",
            endpoint=outcome.endpoint_id,
            delivered=outcome.taken,
            failed=list(outcome.failed),
            events=outcome.events,
        )


# Decrypted secrets are cached, since each delivery needs one. Memory holds the encryption key anyway.
_decrypted = lru_cache(maxsize=4096)(secrets.decrypt)
