"""Retries: how an attempt ends for a row of the outbox, for deliveries and for messages alike.

A claim moves a row's due time into the future and commits that before the attempt, so that an
attempt that died comes back: at least once.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.settings import settings

# What a claim writes.
CLAIMED = """
    attempts = attempts + 1, tried_since = coalesce(tried_since, clock_now()),
    due_at = clock_now() + CAST(:lease AS interval)"""

# What a person's resending writes: the retries start anew.
ANEW = """
    state = 'waiting', due_at = clock_now(), attempts = 0, tried_since = NULL, ended_at = NULL,
    error = NULL"""

# Circuit breaker: the pause grows with each failure in a row, up to about five minutes.
PAUSED = """
    failures = failures + 1,
    rests_until = clock_now() + least(interval '1 second' * 2 ^ least(failures, 20),
                                      interval '5 minutes') * (0.5 + random())"""

ENDED = """
    UPDATE {table} SET state = '{done}', ended_at = clock_now(), error = NULL WHERE id = ANY (:ids)"""

# Exponential backoff with jitter: retries after 5 seconds, then 10, and so on up to 6 hours, give or
# take half; the last one at the end of the time for retries. That counts from tried_since, not from
# the event, so that an outage of ours does not shorten it. What is `final` is not retried.
OVER = "failed.final OR clock_now() >= of.tried_since + CAST(:lasts AS interval)"
FAILED = f"""
    UPDATE {{table}} AS of
       SET error = failed.error,
           state = CASE WHEN {OVER} THEN 'failed'::{{table}}_state ELSE 'waiting' END,
           ended_at = CASE WHEN {OVER} THEN clock_now() END,
           due_at = least(clock_now() + least(interval '5 seconds' * 2 ^ least(attempts - 1, 20),
                                              interval '6 hours') * (0.5 + random()),
                          greatest(of.tried_since + CAST(:lasts AS interval),
                                   clock_now() + interval '5 seconds'))
      FROM unnest(CAST(:ids AS bigint[]), CAST(:errors AS text[]), CAST(:final AS boolean[]))
           AS failed (id, error, final)
     WHERE of.id = failed.id AND of.state = 'waiting'
    RETURNING of.state::text"""  # noqa: S608  # OVER is a constant

# Rows behind a failed one, or not reached in time: the claim is undone.
UNTRIED = """
    UPDATE {table}
       SET attempts = greatest(attempts - 1, 0), due_at = clock_now(),
           tried_since = CASE WHEN attempts > 1 THEN tried_since END
     WHERE id = ANY (:ids) AND state = 'waiting'"""

BLANK = """
    WITH old AS (
        SELECT id FROM {table}
         WHERE data IS NOT NULL AND ended_at < clock_now() - CAST(:kept AS interval)
         ORDER BY ended_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE {table} SET data = NULL FROM old WHERE {table}.id = old.id RETURNING {table}.id"""


class Retries:
    """What is written when attempts end, for one table of the outbox."""

    def __init__(self, table: str, *, done: str) -> None:
        """Name the table, and the state of what succeeded."""
        ended, failed, untried, blank = (
            text(sql.format(table=table, done=done)) for sql in (ENDED, FAILED, UNTRIED, BLANK)
        )
        self._ended, self._failed, self._untried, self._blank = ended, failed, untried, blank

    def succeeded(self, session: Session, ids: Sequence[int]) -> None:
        """End what succeeded."""
        session.execute(self._ended, {"ids": list(ids)})

    def failed(
        self, session: Session, errors: Mapping[int, str], *, final: frozenset[int] = frozenset()
    ) -> int:
        """Put off what failed, with the reason; gives how many were set apart: late or `final` ones."""
        asked = {
            "ids": list(errors),
            "errors": list(errors.values()),
            "final": [one in final for one in errors],
            "lasts": settings().delivery_lasts,
        }
        return session.scalars(self._failed, asked).all().count("failed")

    def untried(self, session: Session, ids: Sequence[int]) -> None:
        """Undo the claim of what was not tried."""
        session.execute(self._untried, {"ids": list(ids)})

    def blank_old(self, session: Session, *, kept: timedelta, limit: int) -> int:
        """Blank (redact) the bodies of up to `limit` rows that ended longer ago than `kept`."""
        return len(session.scalars(self._blank, {"kept": kept, "limit": limit}).all())


DELIVERIES = Retries("delivery", done="delivered")
MESSAGES = Retries("message", done="sent")
ALL = (DELIVERIES, MESSAGES)
