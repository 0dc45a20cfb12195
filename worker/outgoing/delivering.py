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
from datetime import timedelta
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
from worker.tenancy import history, secrets
from worker.tenancy.actors import Actor

DELIVERER = Actor.operator("delivery")
LANES = 16  # endpoints that are posted to at once
CHUNK = 20  # deliveries of one endpoint that are posted on one connection
SHARE = 5.0  # seconds after which a lane stops, even if part of its chunk is left
ANSWERS = 20  # attempts that a delivery keeps with their answers
MOST_SET_APART = 1000  # deliveries at once
LEASE = timedelta(seconds=60)  # timeout of a claim, longer than a lane takes
POLL_SECONDS = 0.5  # seconds between polls for due deliveries while lanes are busy

# Endpoints that have something due, are not paused, and have no lane yet.
HEAD = """
    endpoint CROSS JOIN LATERAL (
        SELECT delivery.due_at FROM delivery
         WHERE delivery.endpoint_id = endpoint.id AND delivery.state = 'waiting'
           AND delivery.due_at <= clock_now()
         ORDER BY delivery.due_at, delivery.id LIMIT 1) AS head
    WHERE endpoint.removed_at IS NULL AND endpoint.paused_at IS NULL
      AND coalesce(endpoint.rests_until <= clock_now(), true)"""

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
              delivery.data, delivery.identity
""")  # noqa: S608  # constants

SECRETS = text("""
    SELECT endpoint_id, encrypted FROM endpoint_secret
     WHERE endpoint_id = ANY (:endpoint_ids) AND (expires_at IS NULL OR clock_now() < expires_at)
     ORDER BY id DESC
""")

RESET_FAILURES = text("""
    UPDATE endpoint SET failures = 0, rests_until = NULL WHERE id = ANY (:ids) AND failures > 0
""")

# A rest that the endpoint asks for is kept, however long the circuit breaker's is.
RESTS = text("""
    UPDATE endpoint
       SET rests_until = greatest(rests_until, clock_now() + make_interval(secs => asked.seconds))
      FROM unnest(CAST(:ids AS bigint[]), CAST(:seconds AS float8[])) AS asked (id, seconds)
     WHERE endpoint.id = asked.id
""")

GONE = text("""
    UPDATE endpoint SET paused_at = clock_now(), paused_because = 'It answered 410: it is gone.'
     WHERE id = ANY (:ids) AND paused_at IS NULL AND removed_at IS NULL
    RETURNING id, organization_id, url
""")

# What a paused endpoint leaves waiting for longer than anything is retried becomes a dead letter.
SET_APART = text("""
    WITH late AS (
        SELECT delivery.id FROM endpoint JOIN delivery ON delivery.endpoint_id = endpoint.id
         WHERE endpoint.paused_at IS NOT NULL AND delivery.state = 'waiting'
           AND delivery.due_at < clock_now() - CAST(:lasts AS interval)
         LIMIT :limit FOR NO KEY UPDATE OF delivery SKIP LOCKED)
    UPDATE delivery SET state = 'failed', ended_at = clock_now(), error = 'The endpoint was paused.'
      FROM late WHERE delivery.id = late.id RETURNING delivery.id
""")

ANSWERED = text(f"""
    UPDATE delivery SET answers = CASE
               WHEN jsonb_array_length(coalesce(answers, '[]')) < {ANSWERS} THEN coalesce(answers, '[]')
               ELSE answers - 0 END || jsonb_build_object(
                   'at', iso_instant(clock_now() - make_interval(secs => answer.ago)),
                   'status', answer.status, 'error', answer.error, 'seconds', answer.seconds)
      FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS int[]), CAST(:errors AS text[]),
                  CAST(:seconds AS float8[]), CAST(:ago AS float8[]))
           AS answer (id, status, error, seconds, ago)
     WHERE delivery.id = answer.id
""")  # noqa: S608  # a constant

PAUSE_FAILING = text(f"UPDATE endpoint SET {retries.PAUSED} WHERE id = ANY (:ids)")  # noqa: S608


@dataclass(frozen=True)
class Lane:
    """An endpoint's next deliveries, in order, and the secrets that sign them."""

    endpoint_id: int
    url: str
    secrets: list[bytes]
    claimed: list[Any]


@dataclass(frozen=True)
class Answered:
    """An attempt's answer, how many seconds it took, and when that was (time.monotonic)."""

    answer: posting.Answer
    seconds: float
    at: float


@dataclass
class Outcome:
    """The result of a lane: ids delivered, the one that failed and why, ids not attempted."""

    endpoint_id: int
    taken: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    untried: list[int] = field(default_factory=list)
    answers: dict[int, Answered] = field(default_factory=dict)
    rest: float | None = None  # seconds that the endpoint asked for
    gone: bool = False
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


def set_apart_paused(session: Session) -> int:
    """Set apart up to 1,000 deliveries that waited for paused endpoints for too long; gives their number."""
    asked = {"lasts": settings().delivery_lasts, "limit": MOST_SET_APART}
    return len(session.scalars(SET_APART, asked).all())


def secrets_of(session: Session, endpoint_id: int) -> list[bytes]:
    """Give the secrets that sign what an endpoint gets, newest first."""
    kept = session.execute(SECRETS, {"endpoint_ids": [endpoint_id]})
    return [_decrypted(row.encrypted) for row in kept]


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
            answer = _post(receiver, lane.secrets, row)
            _note(row, answer, time.monotonic() - begun, outcome)
    outcome.untried = [row.id for row in waiting]
    return outcome


def _note(row: Any, answer: posting.Answer, seconds: float, outcome: Outcome) -> None:
    """Keep the result of one delivery, and what it tells of."""
    metrics.POST_SECONDS.observe(seconds)
    outcome.answers[row.id] = Answered(answer, round(seconds, 3), time.monotonic())
    outcome.rest, outcome.gone = answer.rest, answer.gone
    if answer.taken:
        outcome.taken.append(row.id)
    else:
        outcome.failed[row.id] = answer.error or "failed"
    if told := row.data.get("event"):
        outcome.events.append(int(told))
        named = {"keypool.delivery_id": row.id, "keypool.endpoint_id": outcome.endpoint_id}
        tracing.worked("deliver", [int(told)], seconds, delivered=answer.taken, **named)


def _post(receiver: posting.Receiver, secrets: list[bytes], row: Any) -> posting.Answer:
    body = deliveries.encoded(deliveries.body(row.type, row.happened_at, row.data))
    # The unshifted time: receivers check a signature's age by their own clock.
    now, name = int(time.time()), deliveries.webhook_id(row.id, row.identity)
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
    _record_answers(session, outcomes)
    _leave_alone(session, outcomes)
    counts.update({"delivered": len(taken), "failed": len(failed), "set apart": set_apart})
    for outcome in outcomes:
        log.info(
            "endpoint told",
            endpoint=outcome.endpoint_id,
            delivered=outcome.taken,
            failed=list(outcome.failed),
            events=outcome.events,
        )


def _record_answers(session: Session, outcomes: list[Outcome]) -> None:
    """Keep each attempt with its answer."""
    answers = {one: answer for outcome in outcomes for one, answer in outcome.answers.items()}
    kept, now = answers.values(), time.monotonic()
    asked = {
        "ids": list(answers),
        "statuses": [one.answer.status for one in kept],
        "errors": [one.answer.error for one in kept],
        "seconds": [one.seconds for one in kept],
        "ago": [now - one.at for one in kept],
    }
    session.execute(ANSWERED, asked)


def _leave_alone(session: Session, outcomes: list[Outcome]) -> None:
    """Leave endpoints alone as they ask for: for a while (429), or until they are resumed (410)."""
    resting = {o.endpoint_id: o.rest for o in outcomes if o.rest is not None}
    if resting:
        session.execute(RESTS, {"ids": list(resting), "seconds": list(resting.values())})
    for gone in session.execute(GONE, {"ids": [o.endpoint_id for o in outcomes if o.gone]}):
        history.record(
            session,
            actor=DELIVERER,
            action="endpoint paused",
            thing="endpoint",
            thing_ids=gone.id,
            organization_id=gone.organization_id,
            url=gone.url,
            because="410",
        )


# Decrypted secrets are cached, since each delivery needs one. Memory holds the encryption key anyway.
_decrypted = lru_cache(maxsize=4096)(secrets.decrypt)
