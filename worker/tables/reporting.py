"""Reports that are kept."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.tables.billing import Invoice
from worker.tables.columns import Base, Id, Made, Several, Versioned, of
from worker.tables.labels import ReportFormat, ReportRhythm, ReportState, ScheduleFormat
from worker.tables.tenancy import Organization


class ReportSchedule(Versioned, Base):
    """A report that is made again and again, about each day, week or month when it is over."""

    __tablename__ = "report_schedule"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = of(Organization.id)
    notebook: Mapped[str]
    every: Mapped[ReportRhythm]
    format: Mapped[ScheduleFormat] = mapped_column(server_default="html")
    parameters: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    recipients: Mapped[Several]
    asked_by: Mapped[str]
    created_at: Mapped[Made]
    since: Mapped[Made]
    paused_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    named_by_id: Mapped[int | None]


class ReportRun(Base):
    """A report that is kept: a notebook, asked about days of an organization and its descendants."""

    __tablename__ = "report_run"

    id: Mapped[Id]
    organization_id: Mapped[int | None] = of(Organization.id)
    invoice_id: Mapped[int | None] = of(Invoice.id)
    notebook: Mapped[str]
    first_day: Mapped[date]
    last_day: Mapped[date]
    format: Mapped[ReportFormat] = mapped_column(server_default="html")
    parameters: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    asked_by: Mapped[str]
    state: Mapped[ReportState] = mapped_column(server_default="queued")
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    worked: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    cells: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    created_at: Mapped[Made]
    worked_at: Mapped[datetime | None]
    data_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    page: Mapped[str | None] = mapped_column(deferred=True)
    pdf: Mapped[bytes | None] = mapped_column(deferred=True)
    traceback: Mapped[str | None]
    schedule_id: Mapped[int | None] = of(ReportSchedule.id)
    retry_at: Mapped[datetime | None]
