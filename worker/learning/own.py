"""A person's own assignments in an organization, as its redeem page shows them to that person."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.catalogue import launching
from worker.learning import sentences
from worker.learning.assignments import gives_access
from worker.tables.catalogue import Course
from worker.tables.labels import AssignmentStatus
from worker.tables.learning import Assignment, Learner
from worker.tables.redemption import Launch
from worker.tables.tenancy import Organization
from worker.tenancy import addresses


@dataclass(frozen=True)
class OwnAssignment:
    """One's own access to a course.

    Attributes:
        access: until when, in a sentence.
        link: opens the course, signed; None where there is no access, or the course has no launch URL.
    """

    course: str
    is_valid: bool
    access: str
    launches: int
    link: str | None


def assignments(
    session: Session, *, organization_id: int, email: str, assignment_id: int | None = None
) -> list[OwnAssignment]:
    """List a learner's assignments in one organization, or one of them: valid ones first, latest end first."""
    valid = gives_access(func.clock_now())
    launches = select(func.count()).where(
        Launch.assignment_id == Assignment.id, Launch.outcome == "launched"
    )
    statement = (
        select(
            Assignment,
            Course,
            Organization.time_zone,
            Organization.locale,
            valid.label("valid"),
            launches.scalar_subquery().label("launches"),
            func.clock_now().label("now"),
            func.extract("epoch", func.now()).label("unshifted"),
        )
        .join(Learner, Learner.id == Assignment.learner_id)
        .join(Course, Course.id == Assignment.course_id)
        .join(Organization, Organization.id == Assignment.organization_id)
        .where(
            Assignment.organization_id == organization_id,
            Learner.email_lower.in_(addresses.spellings(email)),
        )
        .order_by(valid.desc(), Assignment.expires_at.desc(), Assignment.id)
    )
    if assignment_id is not None:
        statement = statement.where(Assignment.id == assignment_id)
    return [
        OwnAssignment(
            course=row.Course.title,
            is_valid=row.valid,
            access=sentences.describe(
                cancelled=row.Assignment.status is AssignmentStatus.CANCELLED,
                end=row.Assignment.expires_at,
                zone=row.time_zone,
                locale=row.locale,
                now=row.now,
            ),
            launches=row.launches,
            link=_link(row.Course, row.Assignment, int(row.unshifted)) if row.valid else None,
        )
        for row in session.execute(statement)
    ]


def _link(course: Course, assignment: Assignment, now: int) -> str | None:
    if not course.launch_url or course.launch_secret_encrypted is None:
        return None
    return launching.link(
        course.launch_url, course.launch_secret_encrypted, assignment=assignment.id, now=now
    )
