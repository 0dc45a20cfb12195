"""Settling the inbox: claim a batch in order, decide it, retry what failed.

A claim is committed before the work, and removed in the transaction of the work, which holds the settling
lock from before the claim: whoever gets that lock knows that a claim which is left over is a dead settler's.
Its events are retried in halves, then one by one. An event that failed alone five times becomes a dead
letter: it is set apart as `failed`.
"""

import math
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from psycopg.errors import QueryCanceled
from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import metrics
from worker.database import connections, locks
from worker.database.connections import transaction
from worker.errors import DatabaseAwayError
from worker.learning import launches
from worker.logs import log
from worker.redemption import deciding
from worker.settings import settings

# Force index lookups, whatever the planner's statistics say: a cached plan that was made while the
# tables were small would scan them sequentially after they grew.
ONE_BY_ONE = text("""
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
           set_config('enable_mergejoin', 'off', true)
""")

MAX_DEATHS = 5

WAITING = text("SELECT EXISTS (SELECT FROM event WHERE is_undecided(status, waits_for))")

FIRST = text("""
    SELECT id FROM event WHERE is_undecided(status, waits_for)
     ORDER BY received_at, id LIMIT 1
""")

# A claim that a settler died on. If the whole server went down in between, no event is blamed.
LEFT_OVER = text("""
    SELECT id, event_ids, claimed_at >= pg_postmaster_start_time() AS blamed
      FROM settlement ORDER BY id LIMIT 1
""")

# The head of the queue. The batch is smaller while its first event has failed before.
CLAIM = text("""
    WITH head AS (
        SELECT id FROM event WHERE is_undecided(status, waits_for)
         ORDER BY received_at, id
         LIMIT least(:limit, coalesce((
             SELECT claim_limit FROM event WHERE is_undecided(status, waits_for)
              ORDER BY received_at, id LIMIT 1), :limit)))
    INSERT INTO settlement (event_ids)
    SELECT ids FROM (SELECT array_agg(id) AS ids FROM head) AS claimed WHERE ids IS NOT NULL
    RETURNING id, event_ids
""")

# Whose trees the events of a batch belong to: an event is of its source's organization.
TREES = text("SELECT DISTINCT organization_id FROM event WHERE id = ANY (:event_ids)")

RELEASE = text("DELETE FROM settlement WHERE id = :id RETURNING id")

SUSPECT = text("""
    UPDATE event
       SET claim_limit = greatest(:size / 2, 1),
           deaths = deaths + CASE WHEN :size = 1 THEN 1 ELSE 0 END,
           status = CASE WHEN :size = 1 AND deaths + 1 >= :deaths THEN 'failed' ELSE status END,
           error = CASE WHEN :size = 1 THEN :error ELSE error END
     WHERE id = ANY (:event_ids) AND is_undecided(status, waits_for)
""")


@dataclass(frozen=True)
class Claim:
    """A batch of events that this settler took on."""

    id: int
    event_ids: list[int]


def settle_all(*, until: float = math.inf) -> Counter[str]:
    """Settle everything that waits, batch by batch, and count the outcomes.

    `until` is a time of time.monotonic after which no further batch is begun.

    Safe to run at any time and any number at once: if another settler is at work, this one
    returns at once, and the other looks again after it released the lock.
    """
    outcomes: Counter[str] = Counter()
    while time.monotonic() < until and transaction(_waiting):
        batch = settle_batch(limit=settings().settle_batch)
        if batch is None:
            break
        outcomes.update(batch)
        if not batch:
            break  # other transactions have locked these keys' rows; the sweep retries
    return outcomes


def settle_batch(*, limit: int) -> list[str] | None:
    """Claim up to `limit` events, decide them, and give the outcomes; None if another settler is at work.

    An error is not raised: it is stored with the claim, whose events are then retried in
    halves.

    Raises:
        DatabaseAwayError: the database is unreachable or out of space; no event is blamed for that.
    """
    claim = None
    try:
        with connections.session() as deciding:
            if not locks.take(deciding, "settling"):
                return None
            claim = transaction(_claim, limit=limit)
            if claim is None:
                return None
            begun = time.monotonic()
            outcomes = _settle(deciding, claim=claim)
        seconds = time.monotonic() - begun
        metrics.BATCH_SECONDS.observe(seconds)
        log.info(
            "events settled",
            events=claim.event_ids,
            milliseconds=round(seconds * 1000, 1),
            **Counter(outcomes),
        )
        return outcomes
    except Exception as error:
        if claim is None:
            raise
        return _retry(claim, error)


def first_waiting(session: Session) -> int | None:
    """Give the id of the event that is decided next; None if nothing waits."""
    first: int | None = session.scalar(FIRST)
    return first


def first_line(error: Exception) -> str:
    """Redact an error: give its first line, without the values that it quotes."""
    original = getattr(error, "orig", None) or error
    diagnosis = getattr(original, "diag", None)
    return (diagnosis and diagnosis.message_primary) or str(original).partition("\n")[0]


def _waiting(session: Session) -> bool:
    return bool(session.scalar(WAITING))


def _claim(session: Session, *, limit: int) -> Claim | None:
    """Claim the head of the queue, under the settling lock that another transaction of this settler holds."""
    if left := session.execute(LEFT_OVER).one_or_none():
        claim = Claim(left.id, left.event_ids)
        _give_up(session, claim=claim, error="The settler died." if left.blamed else None)
    row = session.execute(CLAIM, {"limit": limit}).one_or_none()
    return Claim(row.id, row.event_ids) if row else None


def _retry(claim: Claim, error: Exception) -> list[str]:
    """Release a claim whose decision failed. Where the database is away, another settler finds the claim."""
    if isinstance(error, DatabaseAwayError) and not isinstance(error.__cause__, QueryCanceled):
        with suppress(DatabaseAwayError):
            transaction(_give_up, claim=claim, error=None)
        raise error
    log.warning("batch not settled", events=claim.event_ids, error=type(error).__name__)
    transaction(_give_up, claim=claim, error=f"{type(error).__name__}: {first_line(error)}")
    return ["retried"]


def _settle(session: Session, *, claim: Claim) -> list[str]:
    locks.await_settlers(session, session.scalars(TREES, {"event_ids": claim.event_ids}).all())
    session.execute(ONE_BY_ONE)
    if session.execute(RELEASE, {"id": claim.id}).one_or_none() is None:
        return []  # this settler was paused for too long: another one took its claim
    settled = deciding.settle(session, event_ids=claim.event_ids)
    return settled + launches.settle(session, event_ids=claim.event_ids)


def _give_up(session: Session, *, claim: Claim, error: str | None) -> None:
    """Release a claim without a result; with an error, its events count as failed once more.

    Nothing if another settler has released it.
    """
    released = session.execute(RELEASE, {"id": claim.id}).one_or_none()
    if released and error is not None:
        suspected = {"event_ids": claim.event_ids, "size": len(claim.event_ids)}
        session.execute(SUSPECT, suspected | {"error": error, "deaths": MAX_DEATHS})
