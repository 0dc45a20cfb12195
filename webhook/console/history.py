"""History: who did what to which thing, and when."""

from typing import Any

from flask import render_template
from sqlalchemy.orm import Session

from webhook.console.access import page
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.http import files
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role


@blueprint.get("/history", endpoint="history")
@page(Role.MANAGER)
def history_page(session: Session, actor: Actor) -> Any:
    """List who did what, newest first."""
    owners = organizations.in_sight(session, actor=actor)
    filters = chosen(history.Filters)
    listed = history.listing(session, actor=actor, filters=filters, **place())
    names = [owner["name"] for owner in owners]
    return render_template("history.html", listed=listed, owners=names, filtered=history.Filters)


@blueprint.get("/history.csv")
@page(Role.MANAGER)
def export_history(session: Session, actor: Actor) -> Any:
    """Export who did what as CSV, oldest first."""
    filters = chosen(history.Filters)
    history.export(session, actor=actor, filters=filters)  # errors must come before streaming
    return files.table("history.csv", history.export, actor=actor, filters=filters)
