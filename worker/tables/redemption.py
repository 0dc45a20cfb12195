"""The inbox: who sends, what was sent, what was decided."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Integer, Numeric, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.columns import Base, Id, Made, lower, of
from worker.tables.labels import (
    EventStatus,
    EventType,
    LaunchOutcome,
    RedemptionOutcome,
    SourceKind,
)
from worker.tables.learning import Assignment
from worker.tables.mail import Message
from worker.tables.pools import Key
from worker.tables.tenancy import Organization


class Source(Base):
    """An external system that may post webhooks for one organization and its descendants."""

    __tablename__ = "source"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    name: Mapped[str]
    created_at: Mapped[Made]
    kind: Mapped[SourceKind] = mapped_column(server_default="system")


class SourceSecret(Base):
    """A signing secret of a source, encrypted; several may be live during a rotation."""

    __tablename__ = "source_secret"

    id: Mapped[Id]
    source_id: Mapped[int] = of(Source.id)
    encrypted: Mapped[bytes]
    created_at: Mapped[Made]
    expires_at: Mapped[datetime | None]


class Event(Base):
    """One webhook message, recorded once and for good."""

    __tablename__ = "event"

    id: Mapped[Id]
    source_id: Mapped[int] = of(Source.id)
    organization_id: Mapped[int] = of(Organization.id)
    learner_organization_id: Mapped[int | None] = of(Organization.id)
    webhook_id: Mapped[str]
    body_hash: Mapped[bytes]
    type: Mapped[EventType]
    data: Mapped[dict[str, Any] | None]
    received_at: Mapped[Made]
    status: Mapped[EventStatus] = mapped_column(server_default="recorded")
    waits_for: Mapped[str | None]
    outcome: Mapped[str | None]
    assignment_id: Mapped[int | None] = of(Assignment.id)
    settled_at: Mapped[datetime | None]
    claim_limit: Mapped[int | None] = mapped_column(Integer)
    deaths: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    error: Mapped[str | None]


class Redemption(Base):
    """The decision on one redemption.requested event."""

    __tablename__ = "redemption"

    event_id: Mapped[int] = mapped_column(
        ForeignKey(Event.id, ondelete="RESTRICT"), primary_key=True, autoincrement=False
    )
    organization_id: Mapped[int]
    learner_organization_id: Mapped[int] = of(Organization.id)
    learner_email: Mapped[str]
    learner_email_lower: Mapped[str] = lower("learner_email")
    key_id: Mapped[int | None] = of(Key.id)
    pool_id: Mapped[int | None]
    assignment_id: Mapped[int | None] = of(Assignment.id)
    outcome: Mapped[RedemptionOutcome]
    received_at: Mapped[datetime]


class Launch(Base):
    """One time a learner takes the training, known by its sender's id; refused ones too."""

    __tablename__ = "launch"

    id: Mapped[Id]
    assignment_id: Mapped[int] = of(Assignment.id)
    organization_id: Mapped[int] = of(Organization.id)
    source_id: Mapped[int | None] = of(Source.id)
    launch: Mapped[str]
    outcome: Mapped[LaunchOutcome] = mapped_column(server_default="launched")
    launched_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    completed: Mapped[bool | None]
    score: Mapped[Decimal | None] = mapped_column(Numeric(9, 4))


class PageSession(Base):
    """One browser at a redeem page; the web knows it by its functions alone."""

    __tablename__ = "page_session"

    id: Mapped[Id]
    hash: Mapped[bytes]
    organization_id: Mapped[int | None] = of(Organization.id)
    email: Mapped[str]
    email_lower: Mapped[str] = lower("email")
    client_hash: Mapped[bytes]
    language: Mapped[str]
    asked_encrypted: Mapped[bytes | None]
    needs_code: Mapped[bool]
    message_id: Mapped[int | None] = of(Message.id)
    tries: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    began_at: Mapped[Made]
    proved_at: Mapped[datetime | None]
    event_id: Mapped[int | None] = of(Event.id)
    outcome: Mapped[str | None]
