"""Stored reports: requested by a person or due, listed, and read.

This module has the queue, the progress and the results: an HTML page and, if requested, the same as
PDF. Other modules of this package decide what a report shows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any, Unpack, final

from sqlalchemy import ColumnElement, Select, func, select, text, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker import errors
from worker.database import lookup, paging
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.days import FirstDay
from worker.reporting import measures, rendering, tables
from worker.reporting.parameters import Value, Values, taken
from worker.tables.billing import Invoice
from worker.tables.labels import ReportFormat, ReportState
from worker.tables.reporting import ReportRun
from worker.tables.tenancy import Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role


@final
class ReportShape(FirstDay):
    """A stored report."""

    id: Id
    """The report's id."""
    notebook: str
    """The notebook that it is made from."""
    organization: str | None
    """The organization that it is about, with its descendants; null for all."""
    to: date
    """The last day of its period."""
    format: ReportFormat
    """The requested format; with `pdf` it has both HTML and PDF."""
    parameters: Values
    """The notebook's own parameters, as they were given."""
    invoice: str | None
    """The number of the invoice after which it was made automatically."""
    schedule: Id | None
    """The schedule that had it made."""
    asked_by: str
    """Who requested it, or its schedule, as named in the history."""
    state: ReportState
    """Its state."""
    worked: int
    """How many of its cells are done."""
    cells: int
    """How many cells it has; 0 until it is started."""
    data_at: datetime | None
    """When its data was read."""
    created_at: datetime
    """When it was requested."""
    finished_at: datetime | None
    """When it was finished or failed."""
    bytes: int
    """The size of its HTML; 0 while there is none."""
    pdf_bytes: int
    """The size of its PDF; 0 while there is none."""
    traceback: str | None
    """Why it failed, or cells of it: the traceback for the operator, for others a sentence with a reference."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which reports."""

    organization: str | None = by("One organization's.")
    notebook: str | None = by("One notebook's.", longest=100)
    state: ReportState | None = by("Those that are so.")


ALL = Filters()

# Who reads what keypool's own notebooks show, `reads` says; those of KEYPOOL_NOTEBOOKS may show
# anything, and are for analysts. Others are run by path, and not stored.
OURS = ("billing", "learners_at_risk", "pools", "redemptions", "usage")
# The notebooks that are run for a month after it is invoiced; the others show the present state.
MONTHLY = ("billing", "redemptions", "usage")
LONGEST_LATE = "45 days"  # after the month's end; older invoices cause no automatic report

# Requested in the transaction that finalizes the invoices. Several invoices of one month (one per
# currency) share their reports.
DUE = text("""
    INSERT INTO report_run (organization_id, invoice_id, notebook, first_day, last_day, asked_by)
    SELECT organization_id, invoice_id, notebook, month, (month + interval '1 month')::date - 1, :by
      FROM (SELECT organization_id, month, min(invoice.id) AS invoice_id
              FROM invoice JOIN organization ON organization.id = organization_id
             WHERE invoice.id = ANY (:invoice_ids)
               AND day_start(CAST(month + interval '1 month' AS date), time_zone)
                   > clock_now() - CAST(:late AS interval)
             GROUP BY organization_id, month) AS invoiced
     CROSS JOIN unnest(CAST(:notebooks AS text[])) AS notebook
     ORDER BY organization_id, month, notebook
    ON CONFLICT ON CONSTRAINT report_is_made_once_for_an_invoice DO NOTHING
""")


def ask(
    session: Session,
    *,
    actor: Actor,
    notebook: str,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
    format: str = "html",
    parameters: Mapping[str, Value] | None = None,
) -> ReportShape:
    """Request a report: it is queued, made soon and stored; gives the queued report.

    It is about an organization and its descendants, by default all that the actor sees. Days are
    inclusive, in its time zone; the default is the year that ends today. `format` is `html`, or `pdf`
    for both. A PDF needs Chromium where the report is made; without it, the report fails. `parameters` are
    the notebook's own.

    Raises:
        NotFoundError: there is no such organization or notebook.
        InvalidInputError: a day, the format or a parameter is invalid, or the last day is before the first.
        ForbiddenError: the actor's role may not read what the notebook shows.
    """
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    known = rendering.own_parameters(notebook)
    require_reader(actor, notebook)
    about = measures.whom(session, actor, organization)
    first, last = measures.period(session, about, from_, to)
    report = ReportRun(
        organization_id=about and about.id,
        notebook=notebook,
        first_day=first,
        last_day=last,
        format=lookup.label(ReportFormat, format, field="format"),
        parameters=taken(parameters or {}, known=known, notebook=notebook),
        asked_by=actor.name,
    )
    session.add(report)
    session.flush()
    _remember(session, actor, report)
    return show(session, actor=actor, report=str(report.id))


def ask_after(session: Session, invoice_ids: list[int]) -> None:
    """Request the monthly reports for the months of these finalized invoices."""
    session.execute(
        DUE,
        {
            "invoice_ids": invoice_ids,
            "notebooks": list(MONTHLY),
            "late": LONGEST_LATE,
            "by": "schedule",
        },
    )


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[ReportShape]:
    """List the stored reports of the actor's organizations, newest first."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    statement = _rows(actor).where(*_chosen(session, actor, filters))
    return paged(
        session, statement, by=ReportRun.id, shape=partial(_shape, actor), newest_first=True, **page
    )


def total(session: Session, *, actor: Actor, filters: Filters, most: int | None = None) -> int:
    """Count the stored reports that the list would show, as `paging.total` does."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    chosen = _chosen(session, actor, filters)
    kept = select(ReportRun.id).where(_sees(actor), reads(actor, ReportRun.notebook), *chosen)
    return paging.total(session, kept, most)


def show(session: Session, *, actor: Actor, report: str) -> ReportShape:
    """Give a stored report: its parameters, its progress, and why it failed."""
    found = find(session, actor=actor, report=report)
    return _shape(actor, session.execute(_rows(actor).where(ReportRun.id == found.id)).one())


def page(session: Session, *, actor: Actor, report: str) -> str:
    """Give the HTML of a finished report.

    Raises:
        ReportNotDoneError: it is not finished, or failed.
    """
    found = find(session, actor=actor, report=report)
    made = session.scalar(select(ReportRun.page).where(ReportRun.id == found.id))
    if made is None:
        raise errors.ReportNotDoneError(f"Report {found.id} is {found.state}, so it has no page.")
    return made


def pdf(session: Session, *, actor: Actor, report: str) -> bytes:
    """Give the PDF of a finished report.

    Raises:
        NotFoundError: it was not requested as PDF.
        ReportNotDoneError: it is not finished, or failed, or is being printed again after an erasure.
    """
    found = find(session, actor=actor, report=report)
    if found.format is not ReportFormat.PDF:
        raise errors.NotFoundError(
            f"Report {found.id} was asked for as HTML and has no PDF; ask for one with format pdf."
        )
    printed = session.scalar(select(ReportRun.pdf).where(ReportRun.id == found.id))
    if printed is None:
        erased = "done, but somebody was erased from it; its PDF is being printed again, so ask again soon"
        how = erased if found.state is ReportState.DONE else f"{found.state}, so it has no PDF"
        raise errors.ReportNotDoneError(f"Report {found.id} is {how}.")
    return printed


def workbook(session: Session, *, actor: Actor, report: str) -> bytes:
    """Give the tables of a finished report as one xlsx, a sheet for each.

    Raises:
        ReportNotDoneError: it is not finished, or failed.
    """
    return tables.workbook(page(session, actor=actor, report=report))


def table(session: Session, *, actor: Actor, report: str, number: int) -> bytes:
    """Give all rows of a finished report's table, by its number from 1 on, as CSV.

    Raises:
        NotFoundError: it has no such table.
        ReportNotDoneError: it is not finished, or failed.
    """
    found = tables.tables(page(session, actor=actor, report=report))
    if not 1 <= number <= len(found):
        raise errors.NotFoundError(
            f"Report {report} has {len(found)} tables, and no table {number}."
        )
    return found[number - 1].csv


def find(session: Session, *, actor: Actor, report: str) -> ReportRun:
    """Find a report of the actor's organizations by id."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    return lookup.find(
        session,
        ReportRun,
        thing="report",
        name=report,
        within=[_sees(actor), reads(actor, ReportRun.notebook)],
    )


def _sees(actor: Actor) -> ColumnElement[bool]:
    return actor.sees(ReportRun.organization_id)


def reads(actor: Actor, notebook: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """The notebooks that a role may read: finance those on billing, a manager ours but that, an analyst all."""
    if actor.role is Role.FINANCE:
        return notebook == "billing"
    if actor.role is Role.MANAGER:
        return notebook.in_(name for name in OURS if name != "billing")
    return true()


def require_reader(actor: Actor, notebook: str) -> None:
    """Refuse who may not read what a notebook shows.

    Raises:
        ForbiddenError: the actor's role may not.
    """
    others = [Role.FINANCE] if notebook == "billing" else [Role.MANAGER] if notebook in OURS else []
    actor.require(Role.ANALYST, *others)


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.organization:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        yield ReportRun.organization_id == owner.id
    if filters.notebook:
        yield ReportRun.notebook == filters.notebook
    if filters.state:
        yield ReportRun.state == filters.state


def _rows(actor: Actor) -> Select[Any]:
    columns: list[Any] = [
        ReportRun,
        Organization.name.label("organization"),
        func.coalesce(func.octet_length(ReportRun.page), 0).label("size"),
        func.coalesce(func.octet_length(ReportRun.pdf), 0).label("pdf_size"),
        Invoice.number,
    ]
    return (
        select(*columns)
        .join(Organization, Organization.id == ReportRun.organization_id, isouter=True)
        .join(Invoice, Invoice.id == ReportRun.invoice_id, isouter=True)
        .where(_sees(actor), reads(actor, ReportRun.notebook))
    )


def _shape(actor: Actor, row: Selected) -> ReportShape:
    report: ReportRun = row.ReportRun
    return {
        "id": str(report.id),
        "notebook": report.notebook,
        "organization": row.organization,
        "from": report.first_day,
        "to": report.last_day,
        "format": report.format,
        "parameters": report.parameters,
        "invoice": row.number,
        "schedule": str(report.schedule_id) if report.schedule_id else None,
        "asked_by": report.asked_by,
        "state": report.state,
        "worked": report.worked,
        "cells": report.cells,
        "data_at": report.data_at,
        "created_at": report.created_at,
        "finished_at": report.finished_at,
        "bytes": row.size,
        "pdf_bytes": row.pdf_size,
        "traceback": _why(actor, report),
    }


def _why(actor: Actor, report: ReportRun) -> str | None:
    """Say why a report failed; who does not operate keypool gets no traceback, which holds others' words."""
    if report.traceback is None or actor.role is Role.OPERATOR:
        return report.traceback
    if report.state is ReportState.DONE:
        return "Parts of this report could not be made; each says its reference."
    return (
        "This report could not be made. Whoever operates keypool finds out why by the reference "
        f"{report.id}."
    )


def _remember(session: Session, actor: Actor, report: ReportRun) -> None:
    history.remember(
        session,
        actor,
        "report asked for",
        report,
        notebook=report.notebook,
        first=report.first_day.isoformat(),
        last=report.last_day.isoformat(),
        format=report.format,
        **({"parameters": report.parameters} if report.parameters else {}),
    )
