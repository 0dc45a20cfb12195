"""Audits of the ledger."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.columns import Base, Id, Made


class AuditRun(Base):
    """An audit of the ledger, and how far it came."""

    __tablename__ = "audit_run"

    id: Mapped[Id]
    since: Mapped[datetime | None]
    begun_at: Mapped[Made]
    ended_at: Mapped[datetime | None]
    checked: Mapped[int] = mapped_column(server_default=text("0"))
    faults: Mapped[int] = mapped_column(server_default=text("0"))
    checks: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
