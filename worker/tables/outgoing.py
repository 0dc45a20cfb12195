"""Telling others: endpoints, and what each is told."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.columns import Base, Id, Made, Versioned, labelled, of
from worker.tables.labels import DeliveryState, DeliveryType
from worker.tables.redemption import Event
from worker.tables.tenancy import Organization


class Endpoint(Versioned, Base):
    """Where an organization wants to be told of what happens in it and below it."""

    __tablename__ = "endpoint"

    id: Mapped[Id]
    organization_id: Mapped[int] = of(Organization.id)
    url: Mapped[str]
    types: Mapped[list[DeliveryType]] = mapped_column(ARRAY(labelled(DeliveryType)))
    pool_low: Mapped[int] = mapped_column(Integer, server_default=text("100"))
    pool_expiring_days: Mapped[int] = mapped_column(Integer, server_default=text("14"))
    created_at: Mapped[Made]
    removed_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    rests_until: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    paused_because: Mapped[str | None]


class EndpointSecret(Base):
    """A signing secret of an endpoint, encrypted; several sign during a rotation."""

    __tablename__ = "endpoint_secret"

    id: Mapped[Id]
    endpoint_id: Mapped[int] = of(Endpoint.id)
    encrypted: Mapped[bytes]
    created_at: Mapped[Made]
    expires_at: Mapped[datetime | None]


class Delivery(Base):
    """The outbox: one thing that happened, for one endpoint."""

    __tablename__ = "delivery"

    id: Mapped[Id]
    endpoint_id: Mapped[int] = of(Endpoint.id)
    type: Mapped[DeliveryType]
    learner_organization_id: Mapped[int | None] = of(Organization.id)
    data: Mapped[dict[str, Any] | None]
    happened_at: Mapped[Made]
    state: Mapped[DeliveryState] = mapped_column(server_default="waiting")
    due_at: Mapped[Made]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    tried_since: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[str | None]
    identity: Mapped[UUID | None] = mapped_column(server_default=text("gen_random_uuid()"))
    answers: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    event_id: Mapped[int | None] = of(Event.id)
