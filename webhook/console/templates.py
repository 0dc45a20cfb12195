"""Templates: organizations' own words for the mails that bring keys."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker.tenancy import organizations, templates
from worker.tenancy.actors import Actor, Role

BEGINNING = {
    "subject": "Your key for {{ course }}",
    "text": """Hello{% if name %} {{ name }}{% endif %},

{{ organization }} gives you access to {{ course }}.

{% if file %}Your keys are in the attached file {{ file }}.{% else %}Your key:{% endif %}

{% for key in keys %}
    {{ key }}
{% endfor %}

{% if link %}Redeem here: {{ link }}

{% endif %}
It can be redeemed {{ until }}.
""",
}


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
        return _page(session, actor, templates.preview(**words))
    made = templates.save(
        session,
        actor=actor,
        organization=form.get("organization", ""),
        name=form.get("name", ""),
        **words,
    )
    return done(f"“{made['name']}” is saved.", "templates")


def _page(session: Session, actor: Actor, shown: templates.TemplateText | None = None) -> Any:
    listed = templates.listing(session, actor=actor)
    owners = organizations.listing(session, actor=actor)
    asked = (request.args.get("organization"), request.args.get("name"))
    kept: dict[str, object] = {"name": "", "organization": "", **BEGINNING}
    for one in listed:
        if (one["organization"], one["name"]) == asked:
            kept |= one
    if shown is not None:
        kept |= request.form.to_dict()
    return render_template("templates.html", listed=listed, owners=owners, it=kept, shown=shown)
