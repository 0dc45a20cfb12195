"""Sources: external systems that post webhooks."""

from typing import Any

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.shapes import whole
from worker.redemption import sources
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("sources", __name__, url_prefix="/api/v1/sources", tag="Sources")


@blueprint.get("")
@allowed(Role.MANAGER)
@blueprint.output(shapes.Sources)
def listing(session: Session, actor: Actor) -> Any:
    """List sources; never their secrets."""
    return vars(whole(sources.listing(session, actor=actor)))


@blueprint.post("")
@allowed(Role.MANAGER)
@blueprint.output(shapes.NewSecret, status_code=201)
@blueprint.input(shapes.NewSource, arg_name="body")
def add(session: Session, actor: Actor, body: shapes.NewSource) -> Any:
    """Add a source; its signing secret is shown this once."""
    return sources.add(session, actor=actor, **body.given())


@blueprint.post("/<source>/rotate")
@allowed(Role.MANAGER)
@blueprint.output(shapes.NewSecret)
@blueprint.input(shapes.Rotation, arg_name="body")
def rotate(session: Session, actor: Actor, source: str, body: shapes.Rotation) -> Any:
    """Give a source a new secret; the old ones stay good for a while."""
    return sources.rotate(session, actor=actor, source=source, old_valid=body.old_valid)
