"""Acts on many rows of a list at once, and what became of each."""

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.columns import Base, Id, Made, of
from worker.tables.labels import BatchState, Role
from worker.tables.tenancy import Organization


class BulkAct(Base):
    """An act that somebody asked for on many rows of a list at once."""

    __tablename__ = "bulk_act"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = of(Organization.id)
    actor: Mapped[str]
    role: Mapped[Role]
    act: Mapped[str]
    how: Mapped[dict[str, Any]]
    asked_as: Mapped[str]
    expected: Mapped[int | None]
    requested: Mapped[int] = mapped_column(server_default=text("0"))
    worked: Mapped[int] = mapped_column(server_default=text("0"))
    done: Mapped[int] = mapped_column(server_default=text("0"))
    state: Mapped[BatchState] = mapped_column(server_default="queued")
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    error: Mapped[str | None]
    created_at: Mapped[Made]
    started_at: Mapped[datetime | None]
    worked_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class BulkActRow(Base):
    """One row that an act is on, and what became of it."""

    __tablename__ = "bulk_act_row"

    act_id: Mapped[int] = of(BulkAct.id, primary_key=True)
    nth: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    thing_id: Mapped[int]
    code: Mapped[str | None]
    words: Mapped[str | None]
