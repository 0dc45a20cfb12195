"""Sources: external systems that post webhooks."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.shapes import Taken, gives, whole
from worker.database.paging import Page
from worker.redemption import sources
from worker.redemption.sources import SourceInClear, SourceShape
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("sources", __name__, url_prefix="/api/v1/sources", tag="Sources")


class NewSource(Taken):
    """A new source."""

    name: str
    organization: str


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
def listing(session: Session, actor: Actor) -> Page[SourceShape]:
    """List sources; never their secrets."""
    return whole(sources.listing(session, actor=actor))


@blueprint.post("")
@allowed(Role.MANAGER)
@gives(201)
@blueprint.input(NewSource, arg_name="body")
def add(session: Session, actor: Actor, body: NewSource) -> SourceInClear:
    """Add a source; its signing secret is shown only now."""
    return sources.add(session, actor=actor, **body.given())


@blueprint.post("/<source>/rotate")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(shapes.Rotation, arg_name="body")
def rotate(session: Session, actor: Actor, source: str, body: shapes.Rotation) -> SourceInClear:
    """Give a source a new secret; the old ones stay valid for a while."""
    return sources.rotate(session, actor=actor, source=source, old_valid=body.old_valid)
