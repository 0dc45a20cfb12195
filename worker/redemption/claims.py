"""Claims: which trees' events a settler decides next, and what a dead settler left.

A settler goes round the organizations that have waiting events, by id, and takes as many trees as fill a
batch, except those that others hold. Whoever holds a tree's lock owns its undecided events and its claim.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.database import locks

MAX_DEATHS = 5

# The organization whose event has waited longest: rounds begin there.
LONGEST_WAITING = text("""
    SELECT organization_id FROM event WHERE is_undecided(status, waits_for)
     ORDER BY received_at, id LIMIT 1
""")

# The next organizations behind :after that have events waiting, until these fill a batch, and the roots of
# their trees. An index scan for each organization skips those of its events that are not asked for.
NEXT = text("""
    WITH RECURSIVE place (organization_id, waiting) AS (
        SELECT CAST(:after AS bigint), CAST(0 AS bigint)
        UNION ALL
        SELECT next.organization_id, place.waiting + own.waiting
          FROM place
         CROSS JOIN LATERAL (
               SELECT organization_id FROM event
                WHERE is_undecided(status, waits_for) AND organization_id > place.organization_id
                ORDER BY organization_id, received_at, id LIMIT 1) AS next
         CROSS JOIN LATERAL (
               SELECT count(*) AS waiting FROM (
                   SELECT FROM event
                    WHERE is_undecided(status, waits_for) AND organization_id = next.organization_id
                    LIMIT :limit) AS few) AS own
         WHERE place.waiting < :limit)
    SELECT max(place.organization_id) AS last, array_agg(DISTINCT root.ancestor_id) AS roots
      FROM place
     CROSS JOIN LATERAL (
           SELECT ancestor_id FROM organization_ancestry WHERE descendant_id = place.organization_id
            ORDER BY distance DESC LIMIT 1) AS root
     WHERE place.organization_id > :after
    HAVING count(*) > 0
""")

# The heads of these trees' queues, an equal share of the batch for each. A tree whose first event failed
# before is claimed alone, with so many of its events as may be tried together. A tree that was moved below
# another one is that one's now.
CLAIM = text("""
    WITH head AS (
        SELECT tree.id AS root_id, event.id, event.received_at, event.claim_limit,
               row_number() OVER (PARTITION BY tree.id ORDER BY event.received_at, event.id) AS place
          FROM organization AS tree
         CROSS JOIN LATERAL (
               SELECT own.* FROM organization_ancestry AS below
                CROSS JOIN LATERAL (
                      SELECT id, received_at, claim_limit FROM event
                       WHERE is_undecided(status, waits_for) AND organization_id = below.descendant_id
                       ORDER BY organization_id, received_at, id LIMIT :share) AS own
                WHERE below.ancestor_id = tree.id
                ORDER BY own.received_at, own.id LIMIT :share) AS event
         WHERE tree.id = ANY (:trees) AND tree.parent_id IS NULL),
    suspect AS (
        SELECT root_id, claim_limit FROM head WHERE place = 1 AND claim_limit IS NOT NULL
         ORDER BY root_id LIMIT 1),
    batch AS (
        SELECT head.* FROM head LEFT JOIN suspect ON true
         WHERE suspect.root_id IS NULL
            OR head.root_id = suspect.root_id AND head.place <= suspect.claim_limit
         ORDER BY head.place LIMIT :limit)
    INSERT INTO settlement (root_id, event_ids, size)
    SELECT root_id, array_agg(id ORDER BY place), (SELECT count(*) FROM batch) FROM batch GROUP BY root_id
    RETURNING id, root_id, event_ids, size
""")

# What dead settlers left in these trees, also where a root was moved below another one meanwhile. If the
# whole server went down in between, no event is blamed.
LEFT_OVER = text("""
    SELECT id, root_id, event_ids, size, claimed_at >= pg_postmaster_start_time() AS blamed
      FROM settlement
     WHERE EXISTS (SELECT FROM organization_ancestry
                    WHERE descendant_id = settlement.root_id AND ancestor_id = ANY (:trees))
""")

RELEASE = text("DELETE FROM settlement WHERE id = ANY (:ids) RETURNING id")

SUSPECT = text("""
    UPDATE event
       SET claim_limit = greatest(:size / 2, 1),
           deaths = deaths + CASE WHEN :size = 1 THEN 1 ELSE 0 END,
           status = CASE WHEN :size = 1 AND deaths + 1 >= :deaths THEN 'failed' ELSE status END,
           error = CASE WHEN :size = 1 THEN :error ELSE error END
     WHERE id = ANY (:event_ids) AND is_undecided(status, waits_for)
""")

UNCLAIMED = text("""
    SELECT root_id FROM unnest(CAST(:trees AS bigint[])) AS held (root_id)
     WHERE NOT EXISTS (SELECT FROM settlement WHERE settlement.root_id = held.root_id)
     ORDER BY root_id LIMIT 1
""")


@dataclass(frozen=True)
class Claim:
    """A batch of events that this settler took on: one row of `settlement` for each tree."""

    ids: list[int]
    trees: list[int]
    event_ids: list[int]
    size: int


@dataclass
class Round:
    """How far a settler is on its way round the organizations with waiting events.

    Attributes:
        after: the organization behind which it looks next, by id.
        held: roots of trees that others held when it came by.
        claim: what it works on.
    """

    after: int = 0
    held: set[int] = field(default_factory=set)
    claim: Claim | None = None


def first_round(session: Session) -> Round | None:
    """Begin a round at the organization whose event has waited longest; None if nothing waits."""
    organization: int | None = session.scalar(LONGEST_WAITING)
    return None if organization is None else Round(organization - 1)


def take_trees(session: Session, *, on: Round, limit: int) -> list[int] | None:
    """Take the next trees of a round that nobody holds, and give their roots; None at the round's end."""
    stretch = session.execute(NEXT, {"after": on.after, "limit": limit}).one_or_none()
    if stretch is None:
        return None
    taken = locks.take_trees(session, stretch.roots)
    on.after = stretch.last
    on.held.update(set(stretch.roots) - set(taken))
    return taken


def claim(session: Session, *, trees: Sequence[int], limit: int) -> Claim | None:
    """Claim up to `limit` events of trees, in a transaction beside the one that holds their locks."""
    for left in session.execute(LEFT_OVER, {"trees": trees}).all():
        abandoned = Claim([left.id], [left.root_id], left.event_ids, left.size)
        release(session, abandoned, error="The settler died." if left.blamed else None)
    share = -(-limit // len(trees))
    rows = session.execute(CLAIM, {"trees": trees, "limit": limit, "share": share}).all()
    if not rows:
        return None
    events = [event for row in rows for event in row.event_ids]
    return Claim([row.id for row in rows], [row.root_id for row in rows], events, rows[0].size)


def release(session: Session, released: Claim, *, error: str | None = None) -> None:
    """Release a claim; with an error, its undecided events count as failed once more.

    Nothing if another settler released it.
    """
    gone = session.scalars(RELEASE, {"ids": released.ids}).all()
    if gone and error is not None:
        suspected = {"event_ids": released.event_ids, "size": released.size}
        session.execute(SUSPECT, suspected | {"error": error, "deaths": MAX_DEATHS})


def await_changes(session: Session, *, trees: set[int]) -> bool:
    """Wait until a change of prices, rates or organizations lets a tree go; False if settlers hold them all."""
    unclaimed = session.scalar(UNCLAIMED, {"trees": sorted(trees)}) if trees else None
    if unclaimed is None:
        return False
    locks.await_settlers(session, [unclaimed])
    return True
