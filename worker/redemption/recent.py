"""Recent attempts, counted in bounded time: a pool's by day and by outcome, and all in sight by spans."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.days import Span
from worker.pools import pools
from worker.tables.labels import GRANTED
from worker.tenancy.actors import Actor, Role


class Redeemed(TypedDict):
    """A day's redemptions."""

    day: date
    """The day."""
    redeemed: int
    """How many."""


class Refused(TypedDict):
    """Attempts that were refused for one reason."""

    outcome: str
    """The reason, as a stable code."""
    attempts: int
    """How many."""


class Lately(TypedDict):
    """A pool's recent attempts."""

    per_day: list[Redeemed]
    """Its redemptions, oldest day first."""
    refused: list[Refused]
    """Refused attempts, the most frequent reason first."""
    since: date | None
    """The day of the oldest attempt counted, if not all are; that day is incomplete."""


class Tried(TypedDict):
    """The attempts of a span of time."""

    redeemed: int
    """How many redeemed a key."""
    refused: int
    """How many were refused."""


DAYS = 30
ATTEMPTS = 20_000  # the latest attempts that are counted: a page must not get slower with its pool

LATELY = text("""
    WITH zone AS (
        SELECT time_zone FROM organization JOIN pool ON organization.id = pool.organization_id
         WHERE pool.id = :pool_id),
    latest AS (
        SELECT outcome, received_at FROM redemption
         WHERE pool_id = :pool_id ORDER BY event_id DESC LIMIT :attempts)
    SELECT (received_at AT TIME ZONE zone.time_zone)::date AS day, outcome::text, count(*) AS attempts,
           (clock_now() AT TIME ZONE zone.time_zone)::date AS today
      FROM zone LEFT JOIN latest ON received_at > clock_now() - make_interval(days => :days)
     GROUP BY 1, 2, 4
""")


# By the tally, whose rows are of quarters of an hour.
IN_SPANS = text("""
    SELECT coalesce(sum(attempts) FILTER (WHERE outcome = 'redeemed'), 0)::bigint AS redeemed,
           coalesce(sum(attempts) FILTER (WHERE outcome::text <> ALL (:granted)), 0)::bigint AS refused
      FROM unnest(CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[]))
               WITH ORDINALITY AS span (since, until, number)
      LEFT JOIN attempt_tally
             ON tried_at >= span.since AND tried_at < span.until
            AND (CAST(:organization_id AS bigint) IS NULL OR organization_id IN (
                 SELECT descendant_id FROM organization_ancestry
                  WHERE ancestor_id = :organization_id))
     GROUP BY span.number ORDER BY span.number
""").bindparams(granted=list(map(str, GRANTED)))


def in_spans(session: Session, *, actor: Actor, spans: Sequence[Span]) -> list[Tried]:
    """Count the attempts in each of some spans, as the list of attempts has them.

    A span begins and ends at a quarter of an hour.
    """
    actor.require(Role.MANAGER, Role.ANALYST)
    parameters = {
        "since": [span.since for span in spans],
        "until": [span.until for span in spans],
        "organization_id": actor.organization_id,
    }
    rows = session.execute(IN_SPANS, parameters)
    return [{"redeemed": row.redeemed, "refused": row.refused} for row in rows]


def of_pool(session: Session, *, actor: Actor, pool: str) -> Lately:
    """Give a pool's redemptions on each of the last 30 days, and its refused attempts.

    Days are in the owner's time zone. Only the latest 20,000 attempts are counted; days before the
    oldest of these are left out.
    """
    actor.require(Role.MANAGER, Role.ANALYST)
    found = pools.find(session, actor=actor, pool=pool)
    parameters = {"pool_id": found.id, "attempts": ATTEMPTS, "days": DAYS}
    rows = session.execute(LATELY, parameters).all()
    since = _since(rows)
    return {"per_day": _days(rows, since), "refused": _refused(rows), "since": since}


def _since(rows: Sequence[Row[Any]]) -> date | None:
    if sum(row.attempts for row in rows if row.outcome) < ATTEMPTS:
        return None
    oldest: date = min(row.day for row in rows)
    return oldest


def _days(rows: Sequence[Row[Any]], since: date | None) -> list[Redeemed]:
    today: date = rows[0].today
    redeemed = {row.day: row.attempts for row in rows if row.outcome == "redeemed"}
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    return [
        {"day": day, "redeemed": redeemed.get(day, 0)} for day in days if not since or day >= since
    ]


def _refused(rows: Sequence[Row[Any]]) -> list[Refused]:
    counts: dict[str, int] = {}
    for row in rows:
        if row.outcome not in (None, *GRANTED):
            counts[row.outcome] = counts.get(row.outcome, 0) + row.attempts
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return [{"outcome": outcome, "attempts": count} for outcome, count in ordered]
