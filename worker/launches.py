"""Launches: a learner takes the training, and ends it, as often as access lasts (A2)."""

from sqlalchemy import text
from sqlalchemy.orm import Session

TOLD = text("""
    SELECT EXISTS (SELECT FROM event WHERE id = ANY (:event_ids) AND type <> 'redemption.requested')
""")

# A launch is let in by the assignment as it was when the event was received; a cancellation, an
# act of people, holds as it stands. A source sees the assignments of its organization's tree.
# The same launch told again comes to what it came to first.
LAUNCH = text("""
    WITH told AS (
        SELECT DISTINCT ON (event.source_id, event.data->>'launch')
               event.id AS event_id, event.source_id, event.data->>'launch' AS launch,
               assignment.id AS assignment_id, assignment.organization_id,
               CAST(event.data->>'launched_at' AS timestamptz) AS launched_at,
               CASE WHEN assignment.status = 'cancelled' THEN 'assignment_cancelled'
                    WHEN event.received_at >= assignment.expires_at THEN 'assignment_expired'
                    ELSE 'launched' END::launch_outcome AS outcome
          FROM event
          JOIN assignment ON assignment.id = CAST(event.data->>'assignment' AS bigint)
          JOIN organization_ancestry AS upward ON upward.ancestor_id = event.organization_id
                                              AND upward.descendant_id = assignment.organization_id
         WHERE event.id = ANY (:event_ids) AND event.status = 'recorded' AND event.type = 'training.launched'
         ORDER BY event.source_id, event.data->>'launch', event.received_at, event.id)
    INSERT INTO launch (assignment_id, organization_id, source_id, launch, launched_at, outcome)
    SELECT assignment_id, organization_id, source_id, launch, launched_at, outcome FROM told
    ON CONFLICT (launch, source_id) DO NOTHING
""")

SETTLE_LAUNCHES = text("""
    UPDATE event
       SET status = 'settled', settled_at = clock_now(), assignment_id = launch.assignment_id,
           outcome = coalesce(launch.outcome::text, 'unknown_assignment')
      FROM event AS told
      LEFT JOIN launch ON launch.source_id = told.source_id AND launch.launch = told.data->>'launch'
     WHERE told.id = event.id AND event.id = ANY (:event_ids)
       AND event.status = 'recorded' AND event.type = 'training.launched'
    RETURNING event.outcome
""")

# Ends that came before these launches are ready now: they are taken in the next round.
WAKE_ENDS = text("""
    UPDATE event SET waits_for = NULL
      FROM event AS told
     WHERE told.id = ANY (:event_ids) AND told.type = 'training.launched' AND told.status = 'settled'
       AND event.source_id = told.source_id AND event.waits_for = told.data->>'launch'
""")

# Of several ends of one launch the first counts.
END = text("""
    WITH told AS (
        SELECT DISTINCT ON (launch.id) launch.id,
               CAST(event.data->>'ended_at' AS timestamptz) AS ended_at,
               CAST(event.data->>'completed' AS boolean) AS completed,
               CAST(event.data->>'score' AS numeric) AS score
          FROM event
          JOIN launch ON launch.source_id = event.source_id AND launch.launch = event.data->>'launch'
         WHERE event.id = ANY (:event_ids) AND event.status = 'recorded' AND event.type = 'training.ended'
           AND CAST(event.data->>'ended_at' AS timestamptz) >= launch.launched_at
         ORDER BY launch.id, event.received_at, event.id)
    UPDATE launch SET ended_at = told.ended_at, completed = told.completed, score = told.score
      FROM told
     WHERE launch.id = told.id AND launch.ended_at IS NULL AND launch.outcome = 'launched'
""")

# An end whose launch has not come waits for it; the end of a refused launch is refused alike.
SETTLE_ENDS = text("""
    UPDATE event
       SET status        = CASE WHEN launch.id IS NULL THEN 'recorded' ELSE 'settled' END::event_status,
           waits_for     = CASE WHEN launch.id IS NULL THEN told.data->>'launch' END,
           settled_at    = CASE WHEN launch.id IS NOT NULL THEN clock_now() END,
           assignment_id = launch.assignment_id,
           outcome       = CASE WHEN launch.id IS NULL THEN NULL
                                WHEN launch.outcome <> 'launched' THEN launch.outcome::text
                                WHEN CAST(told.data->>'ended_at' AS timestamptz) < launch.launched_at
                                    THEN 'ended_before_launched'
                                ELSE 'ended' END
      FROM event AS told
      LEFT JOIN launch ON launch.source_id = told.source_id AND launch.launch = told.data->>'launch'
     WHERE told.id = event.id AND event.id = ANY (:event_ids)
       AND event.status = 'recorded' AND event.type = 'training.ended'
    RETURNING coalesce(event.outcome, 'waiting')
""")


def settle(session: Session, *, event_ids: list[int]) -> list[str]:
    """Settle a batch's training.launched and training.ended events, and give the outcomes.

    An end that waits for its launch counts as `waiting` and stays recorded.
    """
    batch = {"event_ids": event_ids}
    if not session.scalar(TOLD, batch):
        return []
    session.execute(LAUNCH, batch)
    launched = list(session.scalars(SETTLE_LAUNCHES, batch))
    if launched:
        session.execute(WAKE_ENDS, batch)
    session.execute(END, batch)
    return launched + list(session.scalars(SETTLE_ENDS, batch))
