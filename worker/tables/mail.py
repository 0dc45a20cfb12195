"""Mail: one e-mail to one person, waiting or ended; and the reminders that are wanted."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.columns import Base, Id, Made, No, Words, lower, of
from worker.tables.labels import MessageState, ReminderKind
from worker.tables.pools import Distribution
from worker.tables.tenancy import MailTemplate, Organization


class Message(Base):
    """One e-mail to one person, in an organization's name; in the seller's, where it names none."""

    __tablename__ = "message"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = of(Organization.id)
    distribution_id: Mapped[int | None] = of(Distribution.id)
    template_id: Mapped[int | None] = of(MailTemplate.id)
    kind: Mapped[str]
    recipient: Mapped[str]
    recipient_lower: Mapped[str] = lower("recipient")
    data: Mapped[dict[str, Any] | None]
    identity: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    happened_at: Mapped[Made]
    state: Mapped[MessageState] = mapped_column(server_default="waiting")
    due_at: Mapped[Made]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    tried_since: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]
    refused: Mapped[No]
    about: Mapped[str | None]
    occasion: Mapped[datetime | None]


class Reminder(Base):
    """A reminder that an organization wants."""

    __tablename__ = "reminder"

    organization_id: Mapped[int] = of(Organization.id, primary_key=True)
    kind: Mapped[ReminderKind] = mapped_column(primary_key=True)
    threshold: Mapped[int | None] = mapped_column(Integer)
    recipient: Mapped[Words]
    looked_to: Mapped[datetime]


class Unsubscribed(Base):
    """Who wants no more reminders in an organization's name."""

    __tablename__ = "unsubscribed"

    organization_id: Mapped[int] = of(Organization.id, primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[Made]
