"""Assignments: listing, extending, cancelling."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import READERS, page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.forms import whole
from webhook.console.frame import blueprint
from webhook.console.words import of_owner
from webhook.http import files
from worker import errors
from worker.bulk import selecting
from worker.learning import assignments, cancelling, exporting, extending
from worker.redemption import trouble
from worker.tenancy.actors import Actor, Role


@blueprint.get("/assignments", endpoint="assignments")
@page(*READERS)
def assignments_page(session: Session, actor: Actor) -> Any:
    """List assignments: one learner's, those that end soon, or all."""
    filters = chosen(assignments.Filters)
    sorted_so = filters.expiring_within is not None or filters.pool is not None
    wanted = place(sort=None if sorted_so else "-made")
    listed = assignments.listing(session, actor=actor, filters=filters, **wanted)
    return render_template("assignments.html", listed=listed, filtered=assignments.Filters)


@blueprint.get("/assignments.csv")
@page(*READERS)
def export_assignments(session: Session, actor: Actor) -> Any:
    """Export assignments as CSV: those that are selected, or all that fit."""
    filters = chosen(assignments.Filters)
    exporting.export(session, actor=actor, filters=filters)  # errors must come before streaming
    ids = () if "all" in request.args else selecting.named(request.args.getlist("row"))
    return files.table("assignments.csv", exporting.export, actor=actor, filters=filters, ids=ids)


@blueprint.get("/assignments/<assignment>")
@page(*READERS)
def assignment(session: Session, actor: Actor, assignment: str) -> Any:
    """Show an assignment with its launches and history, and what cancelling it would do."""
    shown = assignments.show(session, actor=actor, assignment=assignment)
    of_owner(shown["organization"])
    costs = cancelling.preview(session, actor=actor, assignment=assignment)
    return render_template("assignment.html", it=shown, cancelling=costs)


@blueprint.post("/assignments/<assignment>/extend")
@page(Role.MANAGER, on="assignment")
def extend_assignment(session: Session, actor: Actor, assignment: str) -> Any:
    """Extend an assignment, by days or until a day, free or at a price."""
    return done(_extended(session, actor, assignment), "assignment", assignment=assignment)


@blueprint.post("/keys/<code>/extend")
@page(Role.MANAGER, on="trouble")
def extend_by_key(session: Session, actor: Actor, code: str) -> Any:
    """Extend the assignment that a key gave, where somebody asks about the key."""
    assignment = trouble.show(session, actor=actor, code=code)["assignment"]
    if assignment is None:
        raise errors.NotFoundError(f"The key {code} gave nobody access yet.")
    return done(_extended(session, actor, assignment), "trouble", q=code)


def _extended(session: Session, actor: Actor, assignment: str) -> str:
    """Extend an assignment as the form says; gives what it did, in words."""
    form = {name: value.strip() for name, value in request.form.items()}
    by_days = whole(form["by_days"], field="by_days") if form.get("by_days") else None
    fields = {"until": form.get("until") or None, "price": form.get("price") or None}
    extended = extending.extend(
        session, actor=actor, assignment=assignment, by_days=by_days, **fields
    )
    costs = cancelling.preview(session, actor=actor, assignment=assignment)
    charged = f"{form['price']} {costs['currency']}" if form.get("price") and costs else "nothing"
    return f"Access lasts until {extended['access_lasts_until']}; {charged} is charged."


@blueprint.post("/assignments/<assignment>/cancel")
@page(Role.MANAGER, on="assignment")
def cancel_assignment(session: Session, actor: Actor, assignment: str) -> Any:
    """Cancel an assignment."""
    costs = cancelling.preview(session, actor=actor, assignment=assignment)
    retired, reason = "retire_key" in request.form, request.form.get("reason") or None
    cancelling.cancel(
        session, actor=actor, assignment=assignment, retire_key=retired, reason=reason
    )
    return done(cancelling.told(costs, retired=retired), "assignment", assignment=assignment)
