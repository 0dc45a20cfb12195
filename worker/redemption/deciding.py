"""Deciding redemptions, set-wise in SQL: who gets which key, and what follows from it.

The decision is a query over attempts (DECISION): the events of a batch, or the one attempt of a dry
run. For a batch, the statement that decides it writes what follows, too (SETTLE).
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.tables.labels import GRANTED

# One row per attempt, judged as if it were the only one. Starts and ends are compared with the
# attempt's time; acts of people (a pause, a retirement) count as they are now (R1). The CASE is the
# order of precedence (R3). Of the learner's assignments for the course, `held` is the active one
# (perhaps overdue); `late` is one that a sweep expired although it was running at the attempt's time.
# LIMIT keeps the planner from reading all live assignments of the course for each attempt.
# `waits` is true if an earlier attempt of the batch is about to be granted the same key, or if both
# are about to be granted to the same learner for the same course. Only grants are waited for: an
# attempt refused alone stays refused, and only another grant of its key could change the reason.
DECISION = """
{attempt},
canon AS MATERIALIZED (
    SELECT attempt.*, lower(attempt.email) AS address, canonical_code(attempt.code) AS canonical
      FROM attempt),
found AS (
    SELECT canon.*, meant.id AS key_id, meant.pool_id, meant.state
      FROM canon CROSS JOIN LATERAL meant_key(canon.canonical) AS meant),
judged AS (
    SELECT found.*, learner.id AS learner_id, pool.course_id, pool.starts_at, pool.expires_at AS closes_at,
           coalesce(pool.organization_id, found.source_organization_id) AS owner_id,
           yours.id AS assignment_id, held.id AS held_id,
           coalesce(yours.expires_at, found.at + make_interval(hours => 24 * pool.content_availability_days))
               AS access_expires_at,
           CASE
               WHEN found.key_id IS NULL AND is_mistyped(found.canonical) THEN 'mistyped_key'
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
               WHEN gives_access(held.status, held.expires_at, found.at) OR late.id IS NOT NULL
                   THEN 'already_assigned'
               ELSE 'redeemed'
           END AS outcome
      FROM found
      LEFT JOIN pool ON pool.id = found.pool_id
      LEFT JOIN course ON course.id = pool.course_id
      LEFT JOIN organization_ancestry AS upward
             ON upward.descendant_id = found.learner_organization_id
            AND upward.ancestor_id = pool.organization_id
      LEFT JOIN learner ON learner.email_lower = found.address
            AND learner.organization_id = found.learner_organization_id
      LEFT JOIN assignment AS yours ON yours.key_id = found.key_id
            AND yours.learner_id = learner.id AND yours.status <> 'cancelled'
      LEFT JOIN LATERAL (
            SELECT id, status, expires_at FROM assignment
             WHERE assignment.learner_id = learner.id AND assignment.course_id = pool.course_id
               AND assignment.status = 'active'
             LIMIT 1) AS held ON true
      LEFT JOIN LATERAL (
            SELECT id FROM assignment
             WHERE assignment.learner_id = learner.id AND assignment.course_id = pool.course_id
               AND assignment.status = 'expired' AND assignment.redeemed_at <= found.at
               AND gives_access(assignment.status, assignment.expires_at, found.at)
             LIMIT 1) AS late ON true),
decision AS (
    SELECT judged.*, key_id IS NOT NULL AND (
           count(*) FILTER (WHERE outcome = 'redeemed') OVER (
               PARTITION BY key_id ORDER BY at, event_id
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) > 0
        OR outcome = 'redeemed' AND count(*) FILTER (WHERE outcome = 'redeemed') OVER (
               PARTITION BY learner_organization_id, address, course_id ORDER BY at, event_id
               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) > 0) AS waits
      FROM judged)"""

BATCH = """attempt AS (
    SELECT id AS event_id, data->>'key' AS code, data->'learner'->>'email' AS email,
           coalesce(data->'learner'->>'name', '') AS name, organization_id AS source_organization_id,
           learner_organization_id, received_at AS at
      FROM event
     WHERE id = ANY (:event_ids) AND is_undecided(status, waits_for) AND type = 'redemption.requested')"""

ONE = """attempt AS (
    SELECT 0::bigint AS event_id, CAST(:code AS text) AS code, CAST(:email AS text) AS email,
           '' AS name, CAST(:organization_id AS bigint) AS source_organization_id,
           CAST(:organization_id AS bigint) AS learner_organization_id, clock_now() AS at)"""

DRY_RUN = """
    WITH {decision}
    SELECT outcome, assignment_id, access_expires_at, at,
           refusing_limit(outcome, starts_at, closes_at) AS window_limit
      FROM decision
"""

# Redeem the keys that are still issued, and write key, learner, assignment, charge, redemption and
# outcome in the statement that decides: an event is settled together with its effects, or not at all.
# A key whose row another transaction has locked is skipped, and its event stays for the next round.
# Rows are passed from CTE to CTE and never joined with one another, because the planner expects one row of
# a CTE. So the ids of learners and assignments are drawn before these are written; who is granted several
# keys at once gets the lowest. If somebody else gives a learner that address meanwhile, the unique index
# refuses the batch, and it is tried again.
# An assignment that had ended by the attempt's time does not count, even if the sweep is late (A1): it
# is expired before (hence the count) the new one is written, since one is live at a time. Its status is
# told by its times, because an index lists all that are active, and a plan for empty tables would read it;
# and where no one is held (EXISTS) none is looked for.
SETTLEMENT = """
    WITH {decision},
    decided AS MATERIALIZED (
        SELECT event_id, outcome::redemption_outcome, key_id, pool_id, course_id, owner_id, learner_id,
               learner_organization_id, email, address, name, held_id, at, access_expires_at, assignment_id,
               CASE WHEN outcome = 'redeemed' AND learner_id IS NULL THEN nextval('learner_id_seq') END AS drawn
          FROM decision WHERE NOT waits),
    granted AS (
        SELECT decided.*, coalesce(learner_id, min(drawn) OVER (
               PARTITION BY learner_organization_id, address)) AS taker_id
          FROM decided WHERE outcome = 'redeemed'),
    free AS (
        SELECT granted.* FROM granted JOIN key ON key.id = granted.key_id
         WHERE key.state = 'issued' ORDER BY key.id FOR NO KEY UPDATE OF key SKIP LOCKED),
    spent AS (
        UPDATE key SET state = 'redeemed' FROM free WHERE key.id = free.key_id
        RETURNING free.*, nextval('assignment_id_seq') AS leads_to),
    met AS (
        INSERT INTO learner (id, organization_id, email, name) OVERRIDING SYSTEM VALUE
        SELECT DISTINCT ON (taker_id) taker_id, learner_organization_id, email, name
          FROM spent WHERE learner_id IS NULL ORDER BY taker_id, at, event_id),
    expired AS (
        UPDATE assignment SET status = 'expired', expired_at = clock_now()
          FROM spent
         WHERE EXISTS (SELECT FROM spent WHERE held_id IS NOT NULL) AND assignment.id = spent.held_id
           AND assignment.expired_at IS NULL AND assignment.cancelled_at IS NULL
        RETURNING assignment.id),
    assigned AS (
        INSERT INTO assignment (id, key_id, pool_id, course_id, learner_id, organization_id,
                                redeemed_at, expires_at) OVERRIDING SYSTEM VALUE
        SELECT leads_to, key_id, pool_id, course_id, taker_id, learner_organization_id, at,
               access_expires_at
          FROM spent WHERE (SELECT count(*) FROM expired) >= 0),
    charged AS (
        INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                            assignment_id, amount, currency, occurred_at, tax_rate_id)
        SELECT 'redemption', spent.owner_id, spent.learner_organization_id, spent.course_id,
               spent.pool_id, spent.leads_to, price.amount, price.currency, spent.at, tax.tax_rate_id
          FROM spent
          LEFT JOIN LATERAL price_in_force(
               spent.course_id, spent.owner_id, spent.at) AS price ON true
          LEFT JOIN LATERAL tax_rate_in_force(spent.owner_id, spent.at) AS tax ON true),
    settled AS (
        SELECT event_id, outcome, key_id, pool_id, owner_id, learner_organization_id, email, at, leads_to
          FROM spent
        UNION ALL
        SELECT event_id, outcome, key_id, pool_id, owner_id, learner_organization_id, email, at, assignment_id
          FROM decided WHERE outcome <> 'redeemed'),
    redemptions AS (
        INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email,
                                key_id, pool_id, assignment_id, outcome, received_at)
        SELECT event_id, owner_id, learner_organization_id, email, key_id, pool_id, leads_to,
               outcome, at
          FROM settled)
    UPDATE event
       SET status = 'settled', outcome = settled.outcome::text, settled_at = clock_now(),
           assignment_id = settled.leads_to
      FROM settled WHERE event.id = settled.event_id
    RETURNING event.outcome
"""

DECIDE_ONE = text(DRY_RUN.format(decision=DECISION.format(attempt=ONE)))
SETTLE = text(SETTLEMENT.format(decision=DECISION.format(attempt=BATCH)))


@dataclass(frozen=True)
class Decision:
    """The outcome of one attempt; `assignment` is the learner's own, if there is one.

    `limit` is when the pool's keys begin or cease to work, where that is why it is refused.
    """

    outcome: str
    assignment: int | None
    access_expires_at: datetime | None
    limit: datetime | None
    at: datetime


def settle(session: Session, *, event_ids: list[int]) -> list[str]:
    """Decide those of a batch's redemption.requested events that can be decided, and give the outcomes.

    The caller holds the locks of the events' trees. Events that depend on another grant of the same batch
    stay undecided until the next round (R4).
    """
    return list(session.scalars(SETTLE, {"event_ids": event_ids}))


def decide_one(session: Session, *, code: str, email: str, organization_id: int) -> Decision:
    """Dry run: say what would happen if a learner redeemed a code now (K10); changes nothing."""
    parameters = {"code": code, "email": email, "organization_id": organization_id}
    row = session.execute(DECIDE_ONE, parameters).one()
    ends = row.access_expires_at if row.outcome in GRANTED else None
    return Decision(row.outcome, row.assignment_id, ends, row.window_limit, row.at)
