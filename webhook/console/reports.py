"""Stored reports, requesting a new one, and those that are made again and again."""

from typing import Any

from flask import Response, render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.http import files, nudging
from webhook.http.access import STAFF
from worker import reporting
from worker.reporting import keeping, parameters, schedules
from worker.reporting.rendering import NotebookShape
from worker.tables.labels import ReportRhythm
from worker.tenancy import organizations
from worker.tenancy.actors import Actor


@blueprint.get("/reports", endpoint="reports")
@page(*STAFF)
def reports_page(session: Session, actor: Actor) -> Any:
    """List reports, newest first, with a form to request one."""
    filters = chosen(keeping.Filters)
    notebooks = reporting.listing()
    return render_template(
        "reports.html",
        listed=keeping.listing(session, actor=actor, filters=filters, **place(30)),
        owners=[owner["name"] for owner in organizations.in_sight(session, actor=actor)],
        notebooks=notebooks,
        own=_own_parameters(notebooks),
        filtered=keeping.Filters,
    )


@blueprint.post("/reports")
@page(*STAFF, on="reports")
def run_report(session: Session, actor: Actor) -> Any:
    """Request a report."""
    from_, to = request.form.get("from") or None, request.form.get("to") or None
    keeping.ask(session, actor=actor, from_=from_, to=to, **_asked())
    nudging.after_commit("make_reports")
    return done("The worker makes the report.", "reports")


@blueprint.get("/reports/schedules", endpoint="schedules")
@page(*STAFF)
def schedules_page(session: Session, actor: Actor) -> Any:
    """List the reports that are made again and again, with a form for a new one."""
    notebooks = reporting.listing()
    return render_template(
        "schedules.html",
        listed=schedules.listing(session, actor=actor),
        owners=[owner["name"] for owner in organizations.in_sight(session, actor=actor)],
        notebooks=notebooks,
        own=_own_parameters(notebooks),
        rhythms=list(ReportRhythm),
        own_lines=lambda own: "\n".join(f"{name}={value}" for name, value in own.items()),
    )


@blueprint.post("/reports/schedules")
@page(*STAFF, on="schedules")
def schedule_report(session: Session, actor: Actor) -> Any:
    """Have a report made again and again."""
    every, mail = request.form.get("every", ""), request.form.get("mail", "").split()
    made = schedules.schedule(session, actor=actor, every=every, mail=mail, **_asked())
    return done(f"The next one is made on {made['next_on']}.", "schedules")


@blueprint.post("/reports/schedules/<schedule>/edit")
@page(*STAFF, on="schedules")
def edit_schedule(session: Session, actor: Actor, schedule: str) -> Any:
    """Change how often a report is made, as what, or to whom it goes."""
    made = schedules.edit(
        session,
        actor=actor,
        schedule=schedule,
        every=request.form.get("every"),
        format=request.form.get("format", "").lower(),
        mail=request.form.get("mail", "").split(),
        parameters=_parameters() if "parameters" in request.form else None,
    )
    return done(f"It is changed. The next one is made on {made['next_on']}.", "schedules")


@blueprint.post("/reports/schedules/<schedule>/pause")
@page(*STAFF, on="schedules")
def pause_schedule(session: Session, actor: Actor, schedule: str) -> Any:
    """Have a scheduled report made no more for now."""
    schedules.pause(session, actor=actor, schedule=schedule)
    return done("It is paused.", "schedules")


@blueprint.post("/reports/schedules/<schedule>/resume")
@page(*STAFF, on="schedules")
def resume_schedule(session: Session, actor: Actor, schedule: str) -> Any:
    """Have a paused report made again."""
    made = schedules.resume(session, actor=actor, schedule=schedule)
    return done(f"It goes on: the next one is made on {made['next_on']}.", "schedules")


@blueprint.post("/reports/schedules/<schedule>/remove")
@page(*STAFF, on="schedules")
def remove_schedule(session: Session, actor: Actor, schedule: str) -> Any:
    """End a schedule."""
    schedules.remove(session, actor=actor, schedule=schedule)
    return done("It is made no more. What was made stays.", "schedules")


def _asked() -> dict[str, Any]:
    """Read what both forms have: notebook, organization, format, and the parameters, one a line."""
    return {
        "notebook": request.form.get("notebook", ""),
        "organization": request.form.get("organization") or None,
        "format": request.form.get("format", "html").lower(),
        "parameters": _parameters(),
    }


def _parameters() -> dict[str, str]:
    lines = enumerate(request.form.get("parameters", "").splitlines(), 1)
    return parameters.split({number: line for number, line in lines if line.strip()})


def _own_parameters(notebooks: list[NotebookShape]) -> str:
    """Say which notebooks have parameters of their own; empty if none has."""
    told = [
        f"{it['title']}: {', '.join(f'{name}={value}' for name, value in it['parameters'].items())}."
        for it in notebooks
        if it["parameters"]
    ]
    return " ".join(["A line for each, such as name=value.", *told]) if told else ""


@blueprint.get("/reports/<report>/progress")
@page(*STAFF)
def report_progress(session: Session, actor: Actor, report: str) -> Any:
    """Give a report's progress, which reloads itself while it is made."""
    shown = keeping.show(session, actor=actor, report=report)
    return render_template("report_progress.html", report=shown)


@blueprint.get("/reports/<report>.html")
@page(*STAFF)
def report(session: Session, actor: Actor, report: str) -> Any:
    """Show a finished report: it runs no script and loads nothing."""
    made = keeping.page(session, actor=actor, report=report)
    return Response(made, mimetype="text/html", headers=files.ALONE)


@blueprint.get("/reports/<report>.pdf")
@page(*STAFF)
def report_pdf(session: Session, actor: Actor, report: str) -> Any:
    """Give a report's PDF as a file."""
    made = keeping.pdf(session, actor=actor, report=report)
    return files.report(f"report-{report}.pdf", made, "application/pdf")
