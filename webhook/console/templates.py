"""Templates: organizations' own words for the mails that bring keys."""

from typing import Any

from flask import request
from sqlalchemy.orm import Session

from webhook.console import letters
from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from worker.outgoing import messages
from worker.outgoing.messages import TemplatePreview
from worker.tenancy import organizations, templates
from worker.tenancy.actors import Actor, Role


@blueprint.get("/templates", endpoint="templates")
@page(Role.MANAGER)
def templates_page(session: Session, actor: Actor) -> Any:
    """List templates, with a form to write or to edit one."""
    return _page(session, actor)


@blueprint.post("/templates")
@page(Role.MANAGER, on="templates")
def save_template(session: Session, actor: Actor) -> Any:
    """Save a template, or show a preview."""
    form = request.form
    words = {name: form.get(name, "") for name in ("subject", "text")}
    if form.get("do") == "check":
        owner = form.get("organization") or None
        shown = messages.preview(session, actor=actor, organization=owner, **words)
        return _page(session, actor, shown)
    made = templates.save(
        session,
        actor=actor,
        organization=form.get("organization", ""),
        name=form.get("name", ""),
        **words,
    )
    return done(f"“{made['name']}” is saved.", "templates")


def _page(session: Session, actor: Actor, shown: TemplatePreview | None = None) -> Any:
    listed = templates.listing(session, actor=actor, filters=chosen(templates.Filters), **place())
    owners = organizations.in_sight(session, actor=actor)
    kept: dict[str, object] = {"name": "", "organization": ""}
    if owners:
        kept |= templates.beginning(session, actor=actor, organization=owners[0]["name"])
    if name := request.args.get("name"):
        kept |= templates.show(session, actor=actor, organization=request.args["of"], name=name)
    if shown is not None:
        kept |= request.form.to_dict()
    html = shown["html"] if shown else None
    return letters.page(
        "templates.html", html, listed=listed, owners=owners, it=kept, shown=shown,
        filtered=templates.Filters,
    )  # fmt: skip
