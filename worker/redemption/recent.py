"""Recent attempts, counted by the tally: a pool's by day and by outcome, and all in sight by spans."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.database import connections
from worker.days import Span, day_start, edges, pieces
from worker.pools import pools
from worker.tables.labels import GRANTED, RedemptionOutcome
from worker.tables.tenancy import Organization
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
    zone: str
    """The owner's time zone, whose days these are."""


class Tried(TypedDict):
    """The attempts of a span of time."""

    redeemed: int
    """How many redeemed a key."""
    refused: int
    """How many were refused."""


DAYS = 30

# A page must not get slower with its pool.
LATELY = text("""
    SELECT (tried_at AT TIME ZONE :zone)::date AS day, outcome::text, sum(attempts)::bigint AS attempts
      FROM attempt_tally
     WHERE pool_id = :pool_id AND tried_at >= :since
     GROUP BY 1, 2
""")


# By the tally, whose rows are of quarters of an hour: each is read once, in however many spans it is.
IN_PIECES = text("""
    SELECT width_bucket(tried_at, CAST(:edges AS timestamptz[])) AS piece,
           coalesce(sum(attempts) FILTER (WHERE outcome = 'redeemed'), 0)::bigint AS redeemed,
           coalesce(sum(attempts) FILTER (WHERE outcome::text <> ALL (:granted)), 0)::bigint AS refused
      FROM attempt_tally
     WHERE tried_at >= :since AND tried_at < :until
       AND (CAST(:organization_id AS bigint) IS NULL OR organization_id IN (
            SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :organization_id))
     GROUP BY piece
""").bindparams(granted=list(map(str, GRANTED)))


def in_spans(session: Session, *, actor: Actor, spans: Sequence[Span]) -> list[Tried]:
    """Count the attempts in each of some spans, as the list of attempts has them.

    A span begins and ends at a quarter of an hour.
    """
    actor.require(Role.MANAGER, Role.ANALYST)
    cut = edges(spans)
    asked = {"edges": cut, "since": cut[0], "until": cut[-1]}
    rows = session.execute(IN_PIECES, {**asked, "organization_id": actor.organization_id})
    tried = {row.piece: row for row in rows}
    return [_sum([tried[n] for n in pieces(span, cut) if n in tried]) for span in spans]


def of_pool(session: Session, *, actor: Actor, pool: str, last: int = DAYS) -> Lately:
    """Give a pool's redemptions on each of the `last` days, today's included, and its refused attempts."""
    actor.require(Role.MANAGER, Role.ANALYST)
    found = pools.find(session, actor=actor, pool=pool)
    zone = session.get_one(Organization, found.organization_id).time_zone
    today = connections.clock_now(session).astimezone(ZoneInfo(zone)).date()
    days = [today - timedelta(days=back) for back in reversed(range(last))]
    parameters = {"pool_id": found.id, "zone": zone, "since": day_start(days[0], zone)}
    rows = session.execute(LATELY, parameters).all()
    return {"per_day": _redeemed(rows, days), "refused": _refused(rows), "zone": zone}


def _sum(rows: Sequence[Row[Any]]) -> Tried:
    return {
        "redeemed": sum(row.redeemed for row in rows),
        "refused": sum(row.refused for row in rows),
    }


def _redeemed(rows: Sequence[Row[Any]], days: Sequence[date]) -> list[Redeemed]:
    counts = {row.day: row.attempts for row in rows if row.outcome == RedemptionOutcome.REDEEMED}
    return [{"day": day, "redeemed": counts.get(day, 0)} for day in days]


def _refused(rows: Sequence[Row[Any]]) -> list[Refused]:
    counts: dict[str, int] = {}
    for row in rows:
        if row.outcome not in GRANTED:
            counts[row.outcome] = counts.get(row.outcome, 0) + row.attempts
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return [{"outcome": outcome, "attempts": count} for outcome, count in ordered]
