"""Mails to learners about their access that somebody asks for, beside the reminders that come with time."""

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import errors
from worker.tenancy.actors import Actor, Role


class Mail(StrEnum):
    """What a mail about access says."""

    ACCESS_ENDING = "access_ending"
    ACCESS_UNLAUNCHED = "access_unlaunched"


# The mails are reminders (see worker.outgoing.reminding): in the name of the pool's owner, once an occasion,
# not twice in twenty hours about one assignment, and not to who wants none.
WRITE = text("""
    WITH asked AS (
        SELECT assignment.id, 'assignment ' || assignment.id AS about, pool.organization_id,
               learner.email, learner.name, course.title, redeemed_at, assignment.expires_at,
               CASE :kind WHEN 'access_ending' THEN assignment.expires_at ELSE redeemed_at END AS occasion,
               gives_access(assignment.status, assignment.expires_at, clock_now()) AS valid,
               EXISTS (SELECT FROM launch WHERE launch.assignment_id = assignment.id) AS launched
          FROM assignment
          JOIN pool ON pool.id = assignment.pool_id
          JOIN course ON course.id = assignment.course_id
          JOIN learner ON learner.id = assignment.learner_id AND learner.erased_at IS NULL
         WHERE assignment.id = ANY (:ids)
           AND (CAST(:within AS bigint) IS NULL OR (
                pool.organization_id IN (
                    SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :within)
                AND assignment.organization_id IN (
                    SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = :within)))),
    judged AS (
        SELECT asked.*,
               CASE WHEN NOT valid THEN 'over'
                    WHEN launched AND :kind = 'access_unlaunched' THEN 'begun'
                    WHEN EXISTS (SELECT FROM unsubscribed
                                  WHERE unsubscribed.organization_id = asked.organization_id
                                    AND unsubscribed.address = lower(email)) THEN 'unsubscribed'
                    WHEN EXISTS (SELECT FROM message
                                  WHERE message.about = asked.about
                                    AND recipient_lower = lower(email)
                                    AND (happened_at > clock_now() - interval '20 hours'
                                         OR message.kind = :kind AND message.occasion = asked.occasion))
                    THEN 'told' END AS why
          FROM asked),
    written AS (
        INSERT INTO message (organization_id, kind, recipient, about, occasion, data)
        SELECT organization_id, :kind, email, about, occasion,
               jsonb_build_object('assignment', id, 'name', name, 'course', title,
                                  'redeemed_at', redeemed_at, 'ends_at', expires_at)
          FROM judged WHERE why IS NULL ORDER BY id
        ON CONFLICT (about, recipient_lower, kind, occasion) WHERE about IS NOT NULL DO NOTHING
        RETURNING id)
    SELECT judged.id, why FROM judged, (SELECT count(*) FROM written) AS done
""")

REASONS = {
    "over": "The access is over.",
    "begun": "The learner has begun the course.",
    "unsubscribed": "The learner wants no more reminders.",
    "told": "The learner was mailed that already, or something about this access in the last 20 hours.",
}


def write(
    session: Session, *, actor: Actor, mail: Mail, ids: Sequence[int]
) -> list[errors.KeypoolError | None]:
    """Mail learners about their assignments; for each id, why there is no mail, if there is none.

    Each mail is in the words and the name of the pool's owner, and in the learner's language.
    """
    actor.require(Role.MANAGER)
    asked = {"ids": list(ids), "kind": str(mail), "within": actor.organization_id}
    whys: dict[int, str | None] = dict(session.execute(WRITE, asked).all())
    return [_why_not(whys[id_]) if id_ in whys else errors.NotFoundError() for id_ in ids]


def _why_not(why: str | None) -> errors.KeypoolError | None:
    return None if why is None else errors.NotMailedError(REASONS[why])
