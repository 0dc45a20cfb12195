"""Redemption: deciding who gets which key, set-wise in SQL, and what follows from it.

The decision is one query over attempts (DECIDE), whether they are the events of a batch or the
one attempt of a dry run. What it decides is written down by a second statement (SETTLE).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, and_, case, func, select, text
from sqlalchemy.orm import Session

from worker import codes, errors, pools
from worker.actors import Actor
from worker.models import (
    Event,
    Key,
    Organization,
    OrganizationAncestry,
    Redemption,
    RedemptionOutcome,
)
from worker.paging import Page, paged

# What each outcome says to people. {until} is when access ends, where there is access.
SENTENCES = {
    "redeemed": "The key is redeemed. Access ends {until}.",
    "already_yours": "You redeemed this key before. Access ends {until}.",
    "mistyped_key": "The key is mistyped: its last symbol does not fit the others. Check each symbol.",
    "unknown_key": "There is no such key. Check it against where you got it.",
    "already_redeemed": "Somebody else redeemed this key already. Ask who gave it to you for another.",
    "key_retired": "The key was withdrawn. Ask who gave it to you for another.",
    "not_available_to_organization": "The key is not for learners of your organization.",
    "course_archived": "The course is no longer taught, so its keys cannot be redeemed.",
    "pool_paused": "Keys of this pool are paused at the moment. Try again later.",
    "pool_not_started": "The key cannot be redeemed yet.",
    "pool_expired": "The key's time to be redeemed is over.",
    "already_assigned": "You already have access to this course. The key is not spent: keep it for later.",
    "launched": "The launch is recorded.",
    "ended": "The end of the training is recorded.",
    "assignment_expired": "Access to the course had ended.",
    "assignment_cancelled": "Access to the course was cancelled.",
    "unknown_assignment": "There is no such assignment.",
    "ended_before_launched": "The training cannot end before it was launched.",
}

# One row an attempt, judged as if it were alone. Clock conditions hold as of the attempt's time,
# acts of people as they stand (R1); the CASE is the order of precedence (R3). The live assignment
# is looked for last, and an expired one that was still running at the attempt's time counts.
# waits: an earlier attempt of the same batch is about to be granted the same key, or the same
# learner the same course; whatever is refused alone stays refused, so only grants are waited for.
DECIDE = """
WITH {attempt},
found AS (
    SELECT attempt.*, coalesce(exact.id, lookalike.id) AS key_id,
           coalesce(exact.pool_id, lookalike.pool_id) AS pool_id,
           coalesce(exact.state, lookalike.state) AS state
      FROM attempt
      LEFT JOIN key AS exact ON exact.canonical = canonical_code(attempt.code)
      LEFT JOIN key AS lookalike ON exact.id IS NULL AND lookalike.generated
            AND lookalike.canonical = translate(canonical_code(attempt.code), 'OIL', '011')),
judged AS (
    SELECT found.*, learner.id AS learner_id, pool.course_id, pool.organization_id AS owner_id,
           yours.id AS assignment_id,
           coalesce(yours.expires_at, found.at + make_interval(hours => 24 * pool.content_availability_days))
               AS access_expires_at,
           CASE
               WHEN found.key_id IS NULL THEN 'unknown_key'
               WHEN yours.id IS NOT NULL THEN 'already_yours'
               WHEN found.state = 'redeemed' THEN 'already_redeemed'
               WHEN found.state = 'retired' THEN 'key_retired'
               WHEN upward.ancestor_id IS NULL OR upward.distance > 0 AND NOT pool.share_with_children
                   THEN 'not_available_to_organization'
               WHEN course.archived_at IS NOT NULL THEN 'course_archived'
               WHEN pool.paused_at IS NOT NULL THEN 'pool_paused'
               WHEN found.at < pool.starts_at THEN 'pool_not_started'
               WHEN found.at >= pool.expires_at THEN 'pool_expired'
               WHEN live.id IS NOT NULL THEN 'already_assigned'
               ELSE 'redeemed'
           END AS outcome
      FROM found
      LEFT JOIN pool ON pool.id = found.pool_id
      LEFT JOIN course ON course.id = pool.course_id
      LEFT JOIN organization_ancestry AS upward
             ON upward.descendant_id = found.learner_organization_id
            AND upward.ancestor_id = pool.organization_id
      LEFT JOIN learner ON lower(learner.email) = lower(found.email)
            AND learner.organization_id = found.learner_organization_id
      LEFT JOIN assignment AS yours ON yours.key_id = found.key_id
            AND yours.learner_id = learner.id AND yours.status <> 'cancelled'
      LEFT JOIN LATERAL (
            SELECT id FROM assignment
             WHERE assignment.learner_id = learner.id AND assignment.course_id = pool.course_id
               AND assignment.status <> 'cancelled' AND found.at < assignment.expires_at
               AND (assignment.status = 'active' OR assignment.redeemed_at <= found.at)
             ORDER BY assignment.status LIMIT 1) AS live ON true)
SELECT judged.*,
       key_id IS NOT NULL AND (
           count(*) FILTER (WHERE outcome = 'redeemed') OVER (
               PARTITION BY key_id ORDER BY at, event_id
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) > 0
        OR count(*) FILTER (WHERE outcome = 'redeemed') OVER (
               PARTITION BY learner_organization_id, lower(email), course_id ORDER BY at, event_id
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) > 0) AS waits
  FROM judged ORDER BY at, event_id
"""

BATCH = """attempt AS (
    SELECT id AS event_id, data->>'key' AS code, data->'learner'->>'email' AS email,
           coalesce(data->'learner'->>'name', '') AS name, organization_id AS source_organization_id,
           learner_organization_id, received_at AS at
      FROM event
     WHERE id = ANY (:event_ids) AND status = 'recorded' AND type = 'redemption.requested')"""

ONE = """attempt AS (
    SELECT 0::bigint AS event_id, CAST(:code AS text) AS code, CAST(:email AS text) AS email,
           CAST('' AS text) AS name, CAST(:organization_id AS bigint) AS source_organization_id,
           CAST(:organization_id AS bigint) AS learner_organization_id, clock_now() AS at)"""

DECIDE_BATCH = text(DECIDE.format(attempt=BATCH))
DECIDE_ONE = text(DECIDE.format(attempt=ONE))

# Learners that a grant makes known; another transaction may be making the same one.
MEET_LEARNERS = text("""
    INSERT INTO learner (organization_id, email, name)
    SELECT DISTINCT ON (organization_id, lower(email)) organization_id, email, name
      FROM unnest(CAST(:organization_ids AS bigint[]), CAST(:emails AS text[]), CAST(:names AS text[]))
        AS granted (organization_id, email, name)
    ON CONFLICT (lower(email), organization_id) DO NOTHING
""")

# An assignment that was over by the attempt's time makes room, though the sweep is late (A1).
EXPIRE_OVERDUE = text("""
    UPDATE assignment SET status = 'expired', expired_at = clock_now()
      FROM unnest(CAST(:organization_ids AS bigint[]), CAST(:emails AS text[]),
                  CAST(:course_ids AS bigint[]), CAST(:ats AS timestamptz[]))
        AS granted (organization_id, email, course_id, at)
      JOIN learner ON lower(learner.email) = lower(granted.email)
                  AND learner.organization_id = granted.organization_id
     WHERE assignment.learner_id = learner.id AND assignment.course_id = granted.course_id
       AND assignment.status = 'active' AND assignment.expires_at <= granted.at
""")

# Spend the keys that are still issued (whoever holds a key's row at this moment decides about it
# first; its event stays for the next round), and write key, assignment, charge, redemption and
# outcome in one statement. An event is settled together with what it caused, or not at all.
SETTLE = text("""
    WITH decided AS (
        SELECT * FROM unnest(
            CAST(:event_ids AS bigint[]), CAST(:outcomes AS redemption_outcome[]), CAST(:key_ids AS bigint[]),
            CAST(:emails AS text[]), CAST(:assignment_ids AS bigint[]))
            AS decided (event_id, outcome, key_id, email, assignment_id)),
    free AS (
        SELECT key.id FROM key JOIN decided ON decided.key_id = key.id
         WHERE decided.outcome = 'redeemed' AND key.state = 'issued'
         ORDER BY key.id FOR NO KEY UPDATE OF key SKIP LOCKED),
    spent AS (
        UPDATE key SET state = 'redeemed' FROM free WHERE key.id = free.id RETURNING key.id, key.pool_id),
    granted AS (
        INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id,
                                redeemed_at, expires_at)
        SELECT spent.id, pool.id, pool.course_id, learner.id, learner.organization_id, event.received_at,
               event.received_at + make_interval(hours => 24 * pool.content_availability_days)
          FROM decided
          JOIN spent ON spent.id = decided.key_id
          JOIN event ON event.id = decided.event_id
          JOIN pool ON pool.id = spent.pool_id
          JOIN learner ON lower(learner.email) = lower(decided.email)
                      AND learner.organization_id = event.learner_organization_id
         WHERE decided.outcome = 'redeemed'
        RETURNING id, key_id, pool_id, course_id, organization_id, redeemed_at),
    charged AS (
        INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                            assignment_id, amount, currency, occurred_at)
        SELECT 'redemption', pool.organization_id, granted.organization_id, granted.course_id, pool.id,
               granted.id, price.amount, price.currency, granted.redeemed_at
          FROM granted
          JOIN pool ON pool.id = granted.pool_id
          LEFT JOIN LATERAL price_in_force(
               granted.course_id, pool.organization_id, granted.redeemed_at) AS price ON true),
    settled AS (
        SELECT decided.event_id, decided.outcome, decided.key_id,
               coalesce(granted.id, decided.assignment_id) AS assignment_id, key.pool_id, pool.organization_id
          FROM decided
          LEFT JOIN granted ON granted.key_id = decided.key_id AND decided.outcome = 'redeemed'
          LEFT JOIN key ON key.id = decided.key_id
          LEFT JOIN pool ON pool.id = key.pool_id
         WHERE decided.outcome <> 'redeemed' OR granted.id IS NOT NULL),
    redemptions AS (
        INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email, key_id,
                                pool_id, assignment_id, outcome, received_at)
        SELECT event.id, coalesce(settled.organization_id, event.organization_id),
               event.learner_organization_id, event.data->'learner'->>'email', settled.key_id,
               settled.pool_id, settled.assignment_id, settled.outcome, event.received_at
          FROM settled JOIN event ON event.id = settled.event_id)
    UPDATE event
       SET status = 'settled', outcome = settled.outcome::text, settled_at = clock_now(),
           assignment_id = settled.assignment_id
      FROM settled WHERE event.id = settled.event_id
    RETURNING event.outcome
""")


@dataclass(frozen=True)
class Decision:
    """What would become of one attempt; `assignment` is the learner's own, where there is one."""

    outcome: str
    message: str
    assignment: int | None
    access_expires_at: datetime | None


def settle(session: Session, *, event_ids: list[int]) -> list[str]:
    """Decide what can be decided of a batch's redemption.requested events, and give the outcomes.

    The caller holds the settler's lock. Events that depend on another grant of the same batch
    stay recorded for the next round (R4).
    """
    judged = session.execute(DECIDE_BATCH, {"event_ids": event_ids}).all()
    decided = [row for row in judged if not row.waits]
    if not decided:
        return []
    granted = [row for row in decided if row.outcome == "redeemed"]
    if granted:
        people = {
            "organization_ids": [row.learner_organization_id for row in granted],
            "emails": [row.email for row in granted],
        }
        session.execute(MEET_LEARNERS, people | {"names": [row.name for row in granted]})
        rooms = {
            "course_ids": [row.course_id for row in granted],
            "ats": [row.at for row in granted],
        }
        session.execute(EXPIRE_OVERDUE, people | rooms)
    return list(session.scalars(SETTLE, _columns(decided)))


def decide_one(session: Session, *, code: str, email: str, organization_id: int) -> Decision:
    """Say what would happen if a learner redeemed a code now (K10); changes nothing."""
    parameters = {"code": code, "email": email, "organization_id": organization_id}
    row = session.execute(DECIDE_ONE, parameters).one()
    outcome = _outcome(row)
    ends = row.access_expires_at if outcome in ("redeemed", "already_yours") else None
    return Decision(outcome, message(outcome, until=ends), row.assignment_id, ends)


def message(outcome: str, *, until: datetime | None) -> str:
    """Give an outcome's sentence for people; `until` is when access ends or ended, if there is any."""
    return SENTENCES[outcome].format(until=until and f"on {until:%Y-%m-%d at %H:%M} UTC")


def listing(
    session: Session,
    *,
    actor: Actor,
    pool: str | None = None,
    outcome: str | None = None,
    learner: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page:
    """List attempts that the actor may see, newest first; a stranger's learner is masked (R5)."""
    wanted = _attempts(actor)
    if pool is not None:
        wanted = wanted.where(Redemption.pool_id == pools.find(session, actor=actor, pool=pool).id)
    if outcome is not None:
        wanted = wanted.where(Redemption.outcome == _known(outcome))
    if learner is not None:
        wanted = wanted.where(func.lower(Redemption.learner_email) == learner.strip().lower())
    return paged(
        session,
        wanted,
        by=Redemption.event_id,
        after=after,
        limit=limit,
        shape=shape,
        newest_first=True,
    )


def attempts_on_key(session: Session, *, actor: Actor, key_id: int) -> list[dict[str, Any]]:
    """List the attempts on one key, newest first, masked as R5 says."""
    wanted = _attempts(actor).where(Redemption.key_id == key_id)
    return [shape(row) for row in session.execute(wanted.order_by(Redemption.event_id.desc()))]


def shape(row: Any) -> dict[str, Any]:
    """Give an attempt's public fields."""
    return {
        "event": str(row.Redemption.event_id),
        "key": row.code,
        "pool": row.Redemption.pool_id and str(row.Redemption.pool_id),
        "learner": row.Redemption.learner_email
        if row.known
        else masked(row.Redemption.learner_email),
        "organization": row.organization if row.known else None,
        "outcome": row.Redemption.outcome,
        "received_at": row.Redemption.received_at,
        "assignment": row.Redemption.assignment_id and str(row.Redemption.assignment_id),
    }


def masked(email: str) -> str:
    """Hide whose address it is, and leave enough to talk about it: `a***@e***`."""
    name, _, host = email.partition("@")
    return f"{name[:1]}***@{host[:1]}***"


def _known(outcome: str) -> RedemptionOutcome:
    try:
        return RedemptionOutcome(outcome)
    except ValueError:
        known = ", ".join(RedemptionOutcome)
        raise errors.InvalidInputError(
            f"“{outcome}” is not an outcome; one of {known}.", field="outcome"
        ) from None


def _attempts(actor: Actor) -> Select[Any]:
    """Select attempts; `known` tells whether the learner is within the seeing organization's tree."""
    return (
        select(
            Redemption,
            case((Key.id.is_not(None), Key.code), else_=Event.data["key"].astext).label("code"),
            Organization.name.label("organization"),
            OrganizationAncestry.ancestor_id.is_not(None).label("known"),
        )
        .join(Event, Event.id == Redemption.event_id)
        .join(Organization, Organization.id == Redemption.learner_organization_id)
        .join(Key, Key.id == Redemption.key_id, isouter=True)
        .join(
            OrganizationAncestry,
            and_(
                OrganizationAncestry.ancestor_id == Redemption.organization_id,
                OrganizationAncestry.descendant_id == Redemption.learner_organization_id,
            ),
            isouter=True,
        )
        .where(actor.sees(Redemption.organization_id))
    )


def _columns(decided: list[Row[Any]]) -> dict[str, list[Any]]:
    return {
        "event_ids": [row.event_id for row in decided],
        "outcomes": [_outcome(row) for row in decided],
        "key_ids": [row.key_id for row in decided],
        "emails": [row.email for row in decided],
        "assignment_ids": [row.assignment_id for row in decided],
    }


def _outcome(row: Row[Any]) -> str:
    """Tell a mistyped key from an unknown one, which is a matter of its symbols alone (K4)."""
    if row.outcome == "unknown_key" and codes.is_mistyped(row.code):
        return RedemptionOutcome.MISTYPED_KEY
    return str(row.outcome)
