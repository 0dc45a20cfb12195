"""Settling the inbox: go round the trees with waiting events, decide a batch, retry what failed.

A claim is committed before the work, and removed in the transaction of the work, which holds the locks of
the claim's trees from before the claim: whoever gets a tree's lock knows that a claim which is left over is
a dead settler's. Its events are retried in halves, then one by one. An event that failed alone five times
becomes a dead letter: it is set apart as `failed`.
"""

import math
import time
from collections import Counter
from contextlib import suppress

from psycopg.errors import QueryCanceled
from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import metrics, tracing
from worker.database import locks
from worker.database.connections import transaction
from worker.errors import DatabaseAwayError
from worker.learning import launches
from worker.logs import log
from worker.redemption import claims, deciding
from worker.redemption.claims import Claim, Round
from worker.settings import settings

# Force index lookups, whatever the planner's statistics say: a cached plan that was made while the
# tables were small would scan them sequentially after they grew.
ONE_BY_ONE = text("""
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
           set_config('enable_mergejoin', 'off', true)
""")

# A claim does not wait for the disk. If the server goes down, what was done under the claim is undone with
# it, and no event is blamed.
NOT_TO_DISK = text("SET LOCAL synchronous_commit = off")


def settle_all(*, until: float = math.inf) -> Counter[str]:
    """Settle everything that waits, batch by batch, and count the outcomes.

    `until` is a time of time.monotonic after which no further batch is begun.

    Safe to run at any time and any number at once: trees that another settler holds are left to
    it, and it looks again after it released them.
    """
    outcomes: Counter[str] = Counter()
    way = transaction(claims.first_round)
    while way is not None and time.monotonic() < until:
        whole = way.after == 0
        settled = _go_round(way, until=until)
        outcomes.update(settled)
        # A whole round without an outcome: others hold these trees, or have locked these keys' rows;
        # the sweep retries.
        if whole and not settled and not transaction(claims.await_changes, trees=way.held):
            break
        way = Round()
    return outcomes


def settle_batch(*, limit: int, on: Round | None = None) -> list[str] | None:
    """Decide up to `limit` events of the next trees that nobody holds, and give the outcomes.

    None at the end of the round, and if KEYPOOL_SETTLERS are at work. An error is not raised: it is
    stored with the claim, whose events are then retried in halves.

    Raises:
        DatabaseAwayError: the database is unreachable or out of space; no event is blamed for that.
    """
    way = on or Round()
    way.claim, begun = None, time.monotonic()
    try:
        outcomes = transaction(_settle, on=way, limit=limit)
    except Exception as error:
        if way.claim is None:
            raise
        return _retry(way.claim, error)
    if way.claim:
        _tell(way.claim, outcomes or [], time.monotonic() - begun)
    return outcomes


def first_line(error: Exception) -> str:
    """Redact an error: give its first line, without the values that it quotes."""
    original = getattr(error, "orig", None) or error
    diagnosis = getattr(original, "diag", None)
    return (diagnosis and diagnosis.message_primary) or str(original).partition("\n")[0]


def _go_round(way: Round, *, until: float) -> Counter[str]:
    """Give each tree on the way its turn, and count the outcomes."""
    outcomes: Counter[str] = Counter()
    while time.monotonic() < until:
        batch = settle_batch(limit=settings().settle_batch, on=way)
        if batch is None:
            break
        outcomes.update(batch)
    return outcomes


def _settle(session: Session, *, on: Round, limit: int) -> list[str] | None:
    if not locks.take_settler(session, most=settings().settlers):
        return None
    session.execute(ONE_BY_ONE)
    trees = claims.take_trees(session, on=on, limit=limit)
    if trees is None:
        return None
    on.claim = transaction(_claim, trees=trees, limit=limit) if trees else None
    return _decide(session, claimed=on.claim) if on.claim else []


def _claim(session: Session, *, trees: list[int], limit: int) -> Claim | None:
    session.execute(ONE_BY_ONE)
    session.execute(NOT_TO_DISK)
    return claims.claim(session, trees=trees, limit=limit)


def _decide(session: Session, *, claimed: Claim) -> list[str]:
    claims.release(session, claimed)
    settled = deciding.settle(session, event_ids=claimed.event_ids)
    if len(settled) == len(claimed.event_ids):
        return settled
    return settled + launches.settle(session, event_ids=claimed.event_ids)


def _tell(claimed: Claim, outcomes: list[str], seconds: float) -> None:
    counts = Counter(outcomes)
    metrics.BATCH_SECONDS.observe(seconds)
    for outcome, count in counts.items():
        metrics.SETTLED.add(outcome, amount=count)
    tracing.worked("settle", claimed.event_ids, seconds, batch=len(claimed.event_ids))
    log.info(
        "events settled",
        trees=claimed.trees,
        events=claimed.event_ids,
        milliseconds=round(seconds * 1000, 1),
        **counts,
    )


def _retry(claimed: Claim, error: Exception) -> list[str]:
    """Release a claim whose decision failed. Where the database is away, another settler finds the claim."""
    if isinstance(error, DatabaseAwayError) and not isinstance(error.__cause__, QueryCanceled):
        with suppress(DatabaseAwayError):
            transaction(claims.release, claimed)
        raise error
    log.warning("batch not settled", events=claimed.event_ids, error=type(error).__name__)
    reason = f"{type(error).__name__}: {first_line(error)}"
    transaction(claims.release, claimed, error=reason)
    metrics.SETTLED.add("retried")
    return ["retried"]
