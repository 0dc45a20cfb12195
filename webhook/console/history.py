"""History: who did what to which thing, and when."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import page
from webhook.console.frame import blueprint
from webhook.http import files
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role

NAMES = ("organization", "thing", "action", "by")


@blueprint.get("/history", endpoint="history")
@page(Role.MANAGER)
def history_page(session: Session, actor: Actor) -> Any:
    """List who did what, newest first."""
    after, owners = request.args.get("after"), organizations.listing(session, actor=actor)
    listed = history.listing(session, actor=actor, **_filters(), after=after, limit=50)
    return render_template("history.html", listed=listed, owners=owners)


@blueprint.get("/history.csv")
@page(Role.MANAGER)
def export_history(session: Session, actor: Actor) -> Any:
    """Export who did what as CSV, oldest first."""
    filters = _filters()
    history.listing(session, actor=actor, **filters, limit=1)  # refuses before anything is streamed
    return files.table("history.csv", history.export, actor=actor, **filters)


def _filters() -> dict[str, Any]:
    asked = {name: request.args.get(name, "").strip() or None for name in (*NAMES, "id")}
    number = asked.pop("id")
    return {
        **asked,
        "thing_id": forms.whole(number, field="id") if number else None,
        "since": forms.day("since", request.args),
        "until": forms.day("until", request.args, end=True),
    }
