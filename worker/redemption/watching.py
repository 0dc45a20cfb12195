"""Watching pools for leaks: what is unusual in the last 24 hours, each pool against its own past.

The past is the up to 28 times 24 hours before, since the pool started; a pool with fewer than seven has none
yet and is not judged. `RULES` has the rules. A rule that is found to hold begins a spell (pool_unusual), which
is told once to whoever listens at the pool's owner or above. It ends when the rule has not held for a day.
"""

import json
from collections.abc import Mapping

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

from worker.languages import unusual
from worker.languages.phrasebooks import phrasebook

# Each rule holds where its figures are far above the pool's own, and enough to be more than chance.
LIMITS: Mapping[str, object] = {
    "longest": 28,  # days of the past
    "shortest": 7,
    "times": 3,  # as many as on a usual day
    "fewest_redeemed": 20,
    "fewest_strangers": 10,
    "fewest_given": 20,  # in the past, for a share of strangers to be known
    "above": 0.2,  # by how much their share is higher
    "fewest_tries": 5,
}

# Of pools with an attempt of late alone: the others have nothing that could be unusual.
SEEN = """
    WITH pace AS MATERIALIZED (
        SELECT pool.id AS pool_id,
               least(:longest, floor(extract(epoch FROM clock_now() - greatest(starts_at, created_at))
                                     / 86400)::int - 1) AS past
          FROM pool
         WHERE pool.id IN (SELECT pool_id FROM attempt_tally
                            WHERE tried_at > clock_now() - interval '25 hours')),
    attempt AS MATERIALIZED (
        SELECT pool_id, past, redemption.key_id, redemption.learner_email_lower AS learner, outcome,
               floor(extract(epoch FROM clock_now() - received_at) / 86400)::int AS days_ago,
               (SELECT recipient_lower FROM key JOIN distribution ON distribution.id = distribution_id
                 WHERE key.id = redemption.key_id AND recipient LIKE '%_@_%') AS recipient
          FROM redemption JOIN pace USING (pool_id)
         WHERE received_at > clock_now() - (:longest + 1) * interval '24 hours' AND past >= :shortest
           AND outcome IN ('redeemed', 'already_redeemed')),
    daily AS (
        SELECT pool_id, past, days_ago,
               count(*) FILTER (WHERE outcome = 'redeemed') AS redeemed,
               count(*) FILTER (WHERE outcome = 'redeemed' AND recipient IS NOT NULL) AS given,
               count(*) FILTER (WHERE outcome = 'redeemed' AND recipient <> learner) AS strangers,
               count(DISTINCT (key_id, learner)) FILTER (WHERE outcome = 'already_redeemed') AS tries
          FROM attempt WHERE days_ago <= past GROUP BY pool_id, past, days_ago),
    seen AS (
        SELECT pool_id,
               coalesce(max(redeemed) FILTER (WHERE days_ago = 0), 0) AS redeemed,
               coalesce(max(given) FILTER (WHERE days_ago = 0), 0) AS given,
               coalesce(max(strangers) FILTER (WHERE days_ago = 0), 0) AS strangers,
               coalesce(max(tries) FILTER (WHERE days_ago = 0), 0) AS tries,
               coalesce(sum(redeemed) FILTER (WHERE days_ago > 0), 0) / past AS usually_redeemed,
               coalesce(max(redeemed) FILTER (WHERE days_ago > 0), 0) AS most_redeemed,
               coalesce(sum(given) FILTER (WHERE days_ago > 0), 0) AS were_given,
               coalesce(sum(strangers) FILTER (WHERE days_ago > 0), 0) AS were_strangers,
               coalesce(sum(tries) FILTER (WHERE days_ago > 0), 0) / past AS usual_tries,
               coalesce(max(tries) FILTER (WHERE days_ago > 0), 0) AS most_tries
          FROM daily GROUP BY pool_id, past),
"""

RULES = """
    held (pool_id, rule, seen, among, usual, most) AS (
        SELECT pool_id, 'sudden_pace'::unusual_rule, redeemed, NULL::bigint, usually_redeemed, most_redeemed
          FROM seen
         WHERE redeemed >= :fewest_redeemed AND redeemed > :times * usually_redeemed
           AND redeemed > most_redeemed
        UNION ALL
        SELECT pool_id, 'strangers', strangers, given, were_strangers / were_given, NULL
          FROM seen
         WHERE strangers >= :fewest_strangers AND were_given >= :fewest_given
           AND strangers > (were_strangers / greatest(were_given, 1) + CAST(:above AS numeric)) * given
        UNION ALL
        SELECT pool_id, 'shared_keys', tries, NULL, usual_tries, most_tries
          FROM seen
         WHERE tries >= :fewest_tries AND tries > :times * usual_tries AND tries > most_tries),
"""

# Of two looks at once, the second finds the row of the first.
WATCH = text(f"""{SEEN}{RULES}
    ended AS (
        UPDATE pool_unusual SET ended_at = clock_now()
         WHERE ended_at IS NULL AND held_at <= clock_now() - interval '1 day'
           AND (pool_id, rule) NOT IN (SELECT pool_id, rule FROM held)),
    known AS (
        INSERT INTO pool_unusual (pool_id, rule, seen, among, usual, most)
        SELECT * FROM held ORDER BY pool_id, rule
        ON CONFLICT (pool_id, rule) WHERE ended_at IS NULL
        DO UPDATE SET seen = excluded.seen, among = excluded.among, usual = excluded.usual,
                      most = excluded.most, held_at = clock_now()
        RETURNING *, xmax = 0 AS is_new)
    SELECT known.rule::text AS rule, known.seen, known.among, known.usual, known.most,
           pool.id AS pool, pool.name, organization.name AS organization, course.code AS course,
           organization.locale, iso_instant(known.began_at) AS began_at
      FROM known
      JOIN pool ON pool.id = known.pool_id
      JOIN organization ON organization.id = pool.organization_id
      JOIN course ON course.id = pool.course_id
     WHERE is_new
     ORDER BY known.id
""").bindparams(**LIMITS)  # noqa: S608  # constants

TELL = text("""
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint.id, 'pool.unusual', CAST(:data AS jsonb)
      FROM pool
      JOIN organization_ancestry AS above ON above.descendant_id = pool.organization_id
      JOIN endpoint ON endpoint.organization_id = above.ancestor_id AND removed_at IS NULL
     WHERE pool.id = :pool AND 'pool.unusual' = ANY (endpoint.types)
     ORDER BY endpoint.id
""")


def watch(session: Session) -> int:
    """Look for pools that are unusual now, and tell of each new spell once; gives how many are new."""
    begun = session.execute(WATCH).mappings().all()
    for spell in begun:
        session.execute(TELL, {"pool": spell["pool"], "data": json.dumps(_told(spell))})
    return len(begun)


def _told(spell: RowMapping) -> dict[str, object]:
    """Give what an endpoint is told; the message is in the language of the pool's owner."""
    figures = {name: spell[name] for name in ("rule", "seen", "among", "usual", "most")}
    return {
        "pool": str(spell["pool"]),
        **{name: spell[name] for name in ("name", "organization", "course", "began_at")},
        **figures,
        "usual": round(float(spell["usual"]), 3),
        "message": unusual.sentence(phrasebook(spell["locale"]), **figures),
    }
