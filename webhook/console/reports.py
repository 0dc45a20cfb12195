"""Stored reports, and requesting a new one."""

from typing import Any

from flask import Response, render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen
from webhook.console.frame import blueprint
from webhook.http import files, nudging
from webhook.http.access import STAFF
from worker import reporting
from worker.reporting import keeping, parameters
from worker.reporting.rendering import NotebookShape
from worker.tenancy import organizations
from worker.tenancy.actors import Actor


@blueprint.get("/reports", endpoint="reports")
@page(*STAFF)
def reports_page(session: Session, actor: Actor) -> Any:
    """List reports, newest first, with a form to request one."""
    filters, after = chosen(keeping.Filters), request.args.get("after")
    notebooks = reporting.listing()
    return render_template(
        "reports.html",
        listed=keeping.listing(session, actor=actor, filters=filters, after=after, limit=30),
        owners=[owner["name"] for owner in organizations.listing(session, actor=actor)],
        notebooks=notebooks,
        own=_own_parameters(notebooks),
        filtered=keeping.Filters,
    )


@blueprint.post("/reports")
@page(*STAFF, on="reports")
def run_report(session: Session, actor: Actor) -> Any:
    """Request a report."""
    form = request.form
    fields: dict[str, Any] = {name: form.get(name) or None for name in ("organization", "to")}
    notebook, from_ = form.get("notebook", ""), form.get("from") or None
    lines = enumerate(form.get("parameters", "").splitlines(), 1)
    fields["format"] = form.get("format", "html").lower()
    pairs = parameters.split({number: line for number, line in lines if line.strip()})
    keeping.ask(session, actor=actor, notebook=notebook, from_=from_, parameters=pairs, **fields)
    nudging.after_commit("make_reports")
    return done("The worker makes the report.", "reports")


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
