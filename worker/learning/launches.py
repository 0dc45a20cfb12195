"""Launches: a learner takes the training, any number of times while access lasts (A2)."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from worker import errors
from worker.database import lookup
from worker.learning import assignments
from worker.learning.assignments import LaunchShape
from worker.tables.labels import LaunchOutcome
from worker.tables.redemption import Launch
from worker.tenancy.actors import Actor, Role

TELLERS = (Role.MANAGER, Role.SENDER)

HAS_LAUNCHES = text("""
    SELECT EXISTS (SELECT FROM event WHERE id = ANY (:event_ids) AND type <> 'redemption.requested')
""")

# A launch is allowed if access had not ended when the event was received, and was not cancelled until
# now. A source sees the assignments of its organization's tree. A repeated launch has the first one's
# outcome. FOR SHARE waits for a concurrent cancellation and reads what it wrote; a later cancellation
# finds the launch.
LAUNCH = text("""
    WITH told AS (
        SELECT event.id AS event_id, event.source_id, event.received_at,
               event.data->>'launch' AS launch,
               assignment.id AS assignment_id, assignment.organization_id,
               CAST(event.data->>'launched_at' AS timestamptz) AS launched_at,
               CASE WHEN gives_access(assignment.status, assignment.expires_at, event.received_at)
                        THEN 'launched'
                    WHEN assignment.status = 'cancelled' THEN 'assignment_cancelled'
                    ELSE 'assignment_expired' END::launch_outcome AS outcome
          FROM event
          JOIN assignment ON assignment.id = CAST(event.data->>'assignment' AS bigint)
          JOIN organization_ancestry AS upward ON upward.ancestor_id = event.organization_id
                                              AND upward.descendant_id = assignment.organization_id
         WHERE event.id = ANY (:event_ids) AND is_undecided(event.status, event.waits_for)
           AND event.type = 'training.launched'
         ORDER BY assignment.id FOR SHARE OF assignment)
    INSERT INTO launch (assignment_id, organization_id, source_id, launch, launched_at, outcome)
    SELECT DISTINCT ON (source_id, launch)
           assignment_id, organization_id, source_id, launch, launched_at, outcome
      FROM told ORDER BY source_id, launch, received_at, event_id
    ON CONFLICT (launch, source_id) DO NOTHING
""")

SETTLE_LAUNCHES = text("""
    UPDATE event
       SET status = 'settled', settled_at = clock_now(), assignment_id = launch.assignment_id,
           outcome = coalesce(launch.outcome::text, 'unknown_assignment')
      FROM event AS told
      LEFT JOIN launch ON launch.source_id = told.source_id AND launch.launch = told.data->>'launch'
     WHERE told.id = event.id AND event.id = ANY (:event_ids)
       AND is_undecided(event.status, event.waits_for) AND event.type = 'training.launched'
    RETURNING event.outcome
""")

# Ends that waited for these launches can be decided in the next round.
WAKE_ENDS = text("""
    UPDATE event SET waits_for = NULL
      FROM event AS told
     WHERE told.id = ANY (:event_ids) AND told.type = 'training.launched' AND told.status = 'settled'
       AND event.source_id = told.source_id AND event.waits_for = told.data->>'launch'
""")

# If a launch is ended several times, the first counts.
END = text("""
    WITH told AS (
        SELECT DISTINCT ON (launch.id) launch.id,
               CAST(event.data->>'ended_at' AS timestamptz) AS ended_at,
               CAST(event.data->>'completed' AS boolean) AS completed,
               CAST(event.data->>'score' AS numeric) AS score
          FROM event
          JOIN launch ON launch.source_id = event.source_id AND launch.launch = event.data->>'launch'
         WHERE event.id = ANY (:event_ids) AND is_undecided(event.status, event.waits_for)
           AND event.type = 'training.ended'
           AND CAST(event.data->>'ended_at' AS timestamptz) >= launch.launched_at
         ORDER BY launch.id, event.received_at, event.id)
    UPDATE launch SET ended_at = told.ended_at, completed = told.completed, score = told.score
      FROM told
     WHERE launch.id = told.id AND launch.ended_at IS NULL AND launch.outcome = 'launched'
""")

# An end whose launch has not arrived waits for it; the end of a refused launch is refused, too.
SETTLE_ENDS = text("""
    WITH told AS (
        SELECT event.id, event.data->>'launch' AS launch, launch.assignment_id,
               CASE WHEN launch.outcome <> 'launched' THEN launch.outcome::text
                    WHEN CAST(event.data->>'ended_at' AS timestamptz) < launch.launched_at
                        THEN 'ended_before_launched'
                    WHEN launch.id IS NOT NULL THEN 'ended'
                    WHEN EXISTS (
                        SELECT FROM event AS refused
                         WHERE refused.source_id = event.source_id
                           AND refused.data->>'launch' = event.data->>'launch'
                           AND refused.type = 'training.launched' AND refused.outcome = 'unknown_assignment')
                        THEN 'unknown_assignment' END AS outcome
          FROM event
          LEFT JOIN launch ON launch.source_id = event.source_id AND launch.launch = event.data->>'launch'
         WHERE event.id = ANY (:event_ids)
           AND is_undecided(event.status, event.waits_for) AND event.type = 'training.ended')
    UPDATE event
       SET status        = CASE WHEN told.outcome IS NULL THEN event.status ELSE 'settled' END,
           waits_for     = CASE WHEN told.outcome IS NULL THEN told.launch END,
           settled_at    = CASE WHEN told.outcome IS NOT NULL THEN clock_now() END,
           assignment_id = told.assignment_id,
           outcome       = told.outcome
      FROM told
     WHERE told.id = event.id
    RETURNING coalesce(event.outcome, 'waiting')
""")

# A launch over the API, judged as of now; its id is unique in the learner's organization. FOR SHARE as
# above.
LAUNCH_NOW = text("""
    INSERT INTO launch (assignment_id, organization_id, launch, launched_at, outcome)
    SELECT id, organization_id, :launch, coalesce(CAST(:launched_at AS timestamptz), clock_now()),
           CASE WHEN gives_access(status, expires_at, clock_now()) THEN 'launched'
                WHEN status = 'cancelled' THEN 'assignment_cancelled'
                ELSE 'assignment_expired' END::launch_outcome
      FROM assignment WHERE id = :assignment_id FOR SHARE
        ON CONFLICT (organization_id, launch) WHERE source_id IS NULL DO NOTHING
""")


def begin(
    session: Session,
    *,
    actor: Actor,
    assignment: str,
    launch: str,
    launched_at: datetime | None = None,
) -> LaunchShape:
    """Record that a learner starts the training. Idempotent: the same id again is the same launch.

    `outcome` says whether it was allowed; a refused launch is recorded too.

    Raises:
        LaunchIdReusedError: another assignment was launched under this id.
    """
    actor.require(*TELLERS)
    found = assignments.find(session, actor=actor, assignment=assignment)
    parameters = {"assignment_id": found.id, "launch": launch, "launched_at": launched_at}
    session.execute(LAUNCH_NOW, parameters)
    recorded = session.scalars(
        select(Launch).where(
            Launch.source_id.is_(None),
            Launch.launch == launch,
            Launch.organization_id == found.organization_id,
        )
    ).one()
    if recorded.assignment_id != found.id:
        raise errors.LaunchIdReusedError
    return assignments.launch_shape(recorded)


def end(
    session: Session,
    *,
    actor: Actor,
    launch: str,
    ended_at: datetime,
    completed: bool | None = None,
    score: float | None = None,
) -> LaunchShape:
    """Record that a training ended; if that is recorded several times, the first counts.

    Raises:
        EndedBeforeLaunchedError: the end is before the beginning.
        LaunchRefusedError: the launch was refused.
    """
    actor.require(*TELLERS)
    within = [actor.sees(Launch.organization_id)]
    found = lookup.find(session, Launch, thing="launch", name=launch, within=within)
    session.refresh(found, with_for_update=True)
    if found.outcome is not LaunchOutcome.LAUNCHED:
        raise errors.LaunchRefusedError
    if ended_at < found.launched_at:
        raise errors.EndedBeforeLaunchedError
    if found.ended_at is None:
        found.ended_at, found.completed = ended_at, completed
        found.score = None if score is None else Decimal(str(score))
        session.flush()
    return assignments.launch_shape(found)


def settle(session: Session, *, event_ids: list[int]) -> list[str]:
    """Settle a batch's training.launched and training.ended events, and give the outcomes.

    An end that waits for its launch counts as `waiting` and stays recorded.
    """
    batch = {"event_ids": event_ids}
    if not session.scalar(HAS_LAUNCHES, batch):
        return []
    session.execute(LAUNCH, batch)
    launched = list(session.scalars(SETTLE_LAUNCHES, batch))
    if launched:
        session.execute(WAKE_ENDS, batch)
    session.execute(END, batch)
    return launched + list(session.scalars(SETTLE_ENDS, batch))
