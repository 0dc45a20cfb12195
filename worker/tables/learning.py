"""Learners and their assignments."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column, relationship

from worker.tables.columns import Base, Id, Made, No, Versioned, Words, lower, of
from worker.tables.labels import AssignmentStatus
from worker.tables.pools import Key
from worker.tables.tenancy import Organization


class Learner(Versioned, Base):
    """A person in an organization, known by e-mail address."""

    __tablename__ = "learner"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    email: Mapped[str]
    email_lower: Mapped[str] = lower("email")
    name: Mapped[Words]
    created_at: Mapped[Made]
    erased_at: Mapped[datetime | None]
    duplicate_of: Mapped[int | None] = of("learner.id")
    joined_at: Mapped[datetime | None]


class Assignment(Versioned, Base):
    """A course assignment: one learner's access to one course until expires_at."""

    __tablename__ = "assignment"

    id: Mapped[Id]
    key_id: Mapped[int] = of(Key.id)
    pool_id: Mapped[int]
    course_id: Mapped[int]
    learner_id: Mapped[int] = of(Learner.id)
    organization_id: Mapped[int] = of(Organization.id)
    status: Mapped[AssignmentStatus] = mapped_column(server_default="active")
    undone: Mapped[No]
    redeemed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]

    organization: Mapped[Organization] = relationship(viewonly=True)
    learner: Mapped[Learner] = relationship(viewonly=True)
