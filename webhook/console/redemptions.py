"""Redemptions: every attempt to spend a key, refused ones too."""

from typing import Any

from flask import render_template
from sqlalchemy.orm import Session

from webhook.console.access import READERS, page
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from worker.redemption import attempts
from worker.tenancy.actors import Actor


@blueprint.get("/redemptions", endpoint="redemptions")
@page(*READERS)
def redemptions_page(session: Session, actor: Actor) -> Any:
    """List attempts, newest first, or some of them."""
    filters = chosen(attempts.Filters)
    listed = attempts.listing(session, actor=actor, filters=filters, **place())
    return render_template("redemptions.html", listed=listed, filtered=attempts.Filters)
