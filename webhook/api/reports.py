"""Stored reports: requesting, scheduling, listing and reading them."""

from apiflask import APIBlueprint
from flask import Response
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import files, nudging
from webhook.http.access import STAFF, allowed
from webhook.http.openapi import describe
from webhook.http.preconditions import versioned
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, answer, gives, left_out, whole
from worker import reporting
from worker.billing import deferrals
from worker.billing.deferrals import Deferred
from worker.database import patience
from worker.database.paging import Page
from worker.pools.exporting import WORKBOOK
from worker.reporting import dictionary, keeping, measures, schedules
from worker.reporting.dictionary import ColumnShape
from worker.reporting.keeping import ReportShape
from worker.reporting.measures import Measures
from worker.reporting.rendering import NotebookShape
from worker.reporting.schedules import ScheduleShape
from worker.tables.labels import ReportFormat, ReportRhythm, ScheduleFormat
from worker.tables.reporting import ReportSchedule
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("reports", __name__, url_prefix="/api/v1/reports", tag="Reports")


class Period(Taken):
    """The organization, the first and the last day; by default the last year."""

    organization: str | None = Field(None, max_length=200)
    from_: str | None = Field(None, alias="from", max_length=10)
    to: str | None = Field(None, max_length=10)


class DeferredPeriod(Taken):
    """The first and the last day, and the organization; all of them by default."""

    from_: str = Field(alias="from", max_length=10)
    to: str = Field(max_length=10)
    organization: str | None = Field(None, max_length=200)


class NewReport(Taken):
    """A new report: its notebook, organization, first and last day; by default the last year.

    `format` is `html`, or `pdf` for both. `parameters` are the notebook's own.
    """

    notebook: str = Field(max_length=100)
    organization: str | None = Field(None, max_length=200)
    from_: str | None = Field(None, alias="from", max_length=10)
    to: str | None = Field(None, max_length=10)
    format: ReportFormat = ReportFormat.HTML
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=50)


class NewSchedule(Taken):
    """A report that is made of each day, week or month when it is over, of an organization.

    Each is sent to the addresses of `mail`, as `format`. `parameters` are the notebook's own.
    """

    notebook: str = Field(max_length=100)
    every: ReportRhythm
    organization: str | None = Field(None, max_length=200)
    format: ScheduleFormat = ScheduleFormat.HTML
    mail: list[str] = Field(default_factory=list, max_length=50)
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict, max_length=50)


class ScheduleChanges(Taken):
    """What to change of a schedule; what is left out stays. `mail` and `parameters` are given whole."""

    every: ReportRhythm = left_out()
    format: ScheduleFormat = left_out()
    mail: list[str] = left_out(max_length=50)
    parameters: dict[str, str | int | float | bool] = left_out(max_length=50)


class OfOrganization(Taken):
    """One organization's."""

    organization: str | None = Field(None, max_length=200)


@blueprint.get("")
@allowed(*STAFF)
@gives()
@blueprint.input(query(keeping.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[keeping.Filters]) -> Page[ReportShape]:
    """List stored reports, newest first."""
    return keeping.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed(*STAFF)
@gives(202)
@blueprint.input(NewReport, arg_name="body")
def ask(session: Session, actor: Actor, body: NewReport) -> ReportShape | Response:
    """Request a report, as HTML or also as PDF; it is made soon and stored."""
    asked = keeping.ask(session, actor=actor, **body.given())
    nudging.after_commit("make_reports")
    return answer(asked, 202, {"Location": f"/api/v1/reports/{asked['id']}"})


@blueprint.get("/schedules")
@allowed(*STAFF)
@gives()
@blueprint.input(OfOrganization, location="query", arg_name="query")
def list_schedules(session: Session, actor: Actor, query: OfOrganization) -> Page[ScheduleShape]:
    """List the reports that are made again and again, oldest first."""
    return whole(schedules.listing(session, actor=actor, **query.given()))


@blueprint.post("/schedules")
@allowed(*STAFF)
@gives(201)
@blueprint.input(NewSchedule, arg_name="body")
def schedule(session: Session, actor: Actor, body: NewSchedule) -> ScheduleShape:
    """Have a report made of each day, week or month when it is over, kept, and sent by mail."""
    return schedules.schedule(session, actor=actor, **body.given())


@blueprint.get("/schedules/<schedule>")
@allowed(*STAFF)
@versioned(schedules.find)
@gives()
def show_schedule(session: Session, actor: Actor, schedule: ReportSchedule) -> ScheduleShape:
    """Show a schedule: what is made, when next, and who gets it."""
    return schedules.show(session, actor=actor, schedule=schedule)


@blueprint.patch("/schedules/<schedule>")
@allowed(*STAFF)
@versioned(schedules.find)
@gives()
@blueprint.input(ScheduleChanges, arg_name="body")
def edit_schedule(
    session: Session, actor: Actor, schedule: ReportSchedule, body: ScheduleChanges
) -> ScheduleShape:
    """Change how often a report is made, as what, with which parameters, or to whom it goes."""
    return schedules.edit(session, actor=actor, schedule=schedule, **body.given())


@blueprint.post("/schedules/<schedule>/pause")
@allowed(*STAFF)
@gives()
def pause_schedule(session: Session, actor: Actor, schedule: str) -> ScheduleShape:
    """Have a scheduled report made no more for now."""
    return schedules.pause(session, actor=actor, schedule=schedule)


@blueprint.post("/schedules/<schedule>/resume")
@allowed(*STAFF)
@gives()
def resume_schedule(session: Session, actor: Actor, schedule: str) -> ScheduleShape:
    """Have a paused report made again, about periods that end from now on."""
    return schedules.resume(session, actor=actor, schedule=schedule)


@blueprint.post("/schedules/<schedule>/remove")
@allowed(*STAFF)
@gives()
def remove_schedule(session: Session, actor: Actor, schedule: str) -> ScheduleShape:
    """End a schedule; the reports that it had made stay."""
    return schedules.remove(session, actor=actor, schedule=schedule)


@blueprint.get("/notebooks")
@allowed(*STAFF)
@gives()
def notebooks(session: Session, actor: Actor) -> Page[NotebookShape]:
    """List the notebooks of reports."""
    return whole(reporting.listing())


@blueprint.get("/dictionary")
@allowed(*STAFF)
@gives()
def show_dictionary(session: Session, actor: Actor) -> Page[ColumnShape]:
    """Give the columns of schema `report`: what analysts read with a database login."""
    return whole(dictionary.listing(session))


@blueprint.get("/measures")
@allowed(*STAFF)
@gives()
@blueprint.input(Period, location="query", arg_name="query")
def show_measures(session: Session, actor: Actor, query: Period) -> Measures:
    """Give the measures of reports for a period."""
    patience.unhurried(session)
    return measures.show(session, actor=actor, **query.given())


@blueprint.get("/deferred")
@allowed(Role.FINANCE, Role.ANALYST)
@gives()
@blueprint.input(Period, location="query", arg_name="query")
def show_deferred(session: Session, actor: Actor, query: Period) -> Deferred:
    """Give what was charged, earned and is left to earn by month, until all of it is earned."""
    patience.unhurried(session)
    return deferrals.schedule(session, actor=actor, **query.given())


@blueprint.get("/deferred.csv")
@describe(only="text/csv")
@allowed()
@blueprint.input(DeferredPeriod, location="query", arg_name="query")
def deferred_journal(session: Session, actor: Actor, query: DeferredPeriod) -> Response:
    """Give a period's postings of deferred revenue, on the seller's accounts; its days must be over."""
    patience.unhurried(session)
    lines = deferrals.journal(session, actor=actor, **query.given())
    return files.report(f"deferred-{query.from_}-{query.to}.csv", b"".join(lines), "text/csv")


@blueprint.get("/<report>.html")
@describe(only="text/html")
@allowed(*STAFF)
def page(session: Session, actor: Actor, report: str) -> Response:
    """Give a finished report as one HTML file."""
    made = keeping.page(session, actor=actor, report=report)
    return files.report(f"report-{report}.html", made, "text/html")


@blueprint.get("/<report>.pdf")
@describe(only="application/pdf")
@allowed(*STAFF)
def pdf(session: Session, actor: Actor, report: str) -> Response:
    """Give the PDF of a finished report that was requested as PDF."""
    made = keeping.pdf(session, actor=actor, report=report)
    return files.report(f"report-{report}.pdf", made, "application/pdf")


@blueprint.get("/<report>.xlsx")
@describe(only=WORKBOOK)
@allowed(*STAFF)
def workbook(session: Session, actor: Actor, report: str) -> Response:
    """Give the tables of a finished report as one workbook, a sheet for each."""
    made = keeping.workbook(session, actor=actor, report=report)
    return files.report(f"report-{report}.xlsx", made, WORKBOOK)


@blueprint.get("/<report>/tables/<int:number>.csv")
@describe(only="text/csv")
@allowed(*STAFF)
def table(session: Session, actor: Actor, report: str, number: int) -> Response:
    """Give all rows of a finished report's table, by its number from 1 on, as CSV."""
    made = keeping.table(session, actor=actor, report=report, number=number)
    return files.report(f"report-{report}-{number}.csv", made, "text/csv")


@blueprint.get("/<report>")
@allowed(*STAFF)
@gives()
def show(session: Session, actor: Actor, report: str) -> ReportShape:
    """Show a stored report: its parameters, its progress, and why it failed."""
    return keeping.show(session, actor=actor, report=report)
