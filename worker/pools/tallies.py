"""Tallies: counters of pools, large distributions and attempts, kept as rows and compacted by folding."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database import locks

# A distribution of more keys than this has counters; fewer keys are counted by a query.
FEW = 100

# Against a cached plan: one made while the tables were empty would scan them for each distribution
# once they are full.
ONE_BY_ONE = text("SELECT set_config('enable_seqscan', 'off', true)")

# All rows of one snapshot; rows added meanwhile wait for the next fold. A distribution that became
# large is counted in the same snapshot: rows that the count includes are removed, and later changes
# add rows of their own. Distributions that got one key are skipped: there may be millions of them,
# and one key makes none large.
FOLD = text("""
    WITH taken AS (DELETE FROM pool_tally RETURNING *),
    folded AS (
        INSERT INTO pool_tally (pool_id, issued, distributed, redeemed, retired)
        SELECT pool_id, sum(issued), sum(distributed), sum(redeemed), sum(retired)
          FROM taken GROUP BY pool_id
        RETURNING 1),
    changed AS (
        SELECT change.id, sum(given) AS given, sum(change.redeemed) AS redeemed,
               sum(change.retired) AS retired
          FROM taken, unnest(distribution_ids, their_given, their_redeemed, their_retired)
                   AS change (id, given, redeemed, retired)
         GROUP BY change.id),
    kept AS (
        UPDATE distribution_tally AS tally
           SET given = tally.given + changed.given, redeemed = tally.redeemed + changed.redeemed,
               retired = tally.retired + changed.retired
          FROM changed WHERE tally.distribution_id = changed.id),
    begun AS (
        INSERT INTO distribution_tally (distribution_id, given, redeemed, retired)
        SELECT changed.id, counted.*
          FROM changed
         CROSS JOIN LATERAL (
               SELECT count(*), count(*) FILTER (WHERE state = 'redeemed'),
                      count(*) FILTER (WHERE state = 'retired')
                 FROM key WHERE distribution_id = changed.id) AS counted
         WHERE changed.given > 1
           AND NOT EXISTS (SELECT FROM distribution_tally WHERE distribution_id = changed.id)
           AND EXISTS (SELECT FROM key WHERE distribution_id = changed.id OFFSET :few))
    SELECT (SELECT count(*) FROM taken) - (SELECT count(*) FROM folded)
""").bindparams(few=FEW)
# The charges of the last quarter of an hour: only rows that no other transaction has locked.
FOLD_CHARGED = text("""
    WITH taken AS (
        DELETE FROM pool_charged WHERE ctid = ANY (ARRAY(
            SELECT pool_charged.ctid FROM pool_charged
              JOIN (SELECT pool_id, charged_at, currency FROM pool_charged
                     WHERE charged_at > clock_now() - interval '2 days'
                     GROUP BY 1, 2, 3 HAVING count(*) > 1) AS pieces
             USING (pool_id, charged_at, currency)
               FOR UPDATE OF pool_charged SKIP LOCKED))
        RETURNING *),
    folded AS (
        INSERT INTO pool_charged (pool_id, charged_at, currency, quantity, amount,
                                  unbilled_quantity, unbilled_amount)
        SELECT pool_id, charged_at, currency, sum(quantity), sum(amount),
               sum(unbilled_quantity), sum(unbilled_amount)
          FROM taken GROUP BY 1, 2, 3
        RETURNING 1)
    SELECT (SELECT count(*) FROM taken) - (SELECT count(*) FROM folded)
""")
# A label's figures whose last keys are gone need no row.
FOLD_LABELS = text("""
    WITH taken AS (
        DELETE FROM label_tally WHERE ctid = ANY (ARRAY(
            SELECT label_tally.ctid FROM label_tally
              JOIN (SELECT pool_id, label FROM label_tally GROUP BY 1, 2 HAVING count(*) > 1) AS pieces
             USING (pool_id, label)))
        RETURNING *),
    folded AS (
        INSERT INTO label_tally (pool_id, label, issued, distributed, redeemed, retired)
        SELECT pool_id, label, sum(issued), sum(distributed), sum(redeemed), sum(retired)
          FROM taken GROUP BY 1, 2 HAVING sum(issued + redeemed + retired) > 0
        RETURNING 1)
    SELECT (SELECT count(*) FROM taken) - (SELECT count(*) FROM folded)
""")
# As of the charges.
FOLD_ATTEMPTS = text("""
    WITH taken AS (
        DELETE FROM attempt_tally WHERE ctid = ANY (ARRAY(
            SELECT attempt_tally.ctid FROM attempt_tally
              JOIN (SELECT organization_id, pool_id, outcome, tried_at FROM attempt_tally
                     WHERE tried_at > clock_now() - interval '2 days'
                     GROUP BY 1, 2, 3, 4 HAVING count(*) > 1) AS pieces
                ON attempt_tally.organization_id = pieces.organization_id
               AND attempt_tally.pool_id IS NOT DISTINCT FROM pieces.pool_id
               AND attempt_tally.outcome = pieces.outcome AND attempt_tally.tried_at = pieces.tried_at))
        RETURNING *),
    folded AS (
        INSERT INTO attempt_tally (organization_id, pool_id, outcome, tried_at, attempts)
        SELECT organization_id, pool_id, outcome, tried_at, sum(attempts) FROM taken GROUP BY 1, 2, 3, 4
        RETURNING 1)
    SELECT (SELECT count(*) FROM taken) - (SELECT count(*) FROM folded)
""")
FOLDS = (FOLD, FOLD_CHARGED, FOLD_LABELS, FOLD_ATTEMPTS)


def fold(session: Session) -> int:
    """Compact the counters: fold each pool's rows into one; gives the number of rows removed.

    Changes of large distributions are folded into their own counters.
    """
    if not locks.take(session, "folding"):
        return 0
    session.execute(ONE_BY_ONE)
    return sum(int(session.execute(statement).scalar_one()) for statement in FOLDS)
