"""Sources: external systems that post webhooks."""

from apiflask import APIBlueprint
from flask import current_app, g
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http import inward
from webhook.http.access import allowed, known
from webhook.http.inward import Tested
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from worker import requests
from worker.database import connections
from worker.database.connections import Login
from worker.database.paging import Page
from worker.redemption import sources
from worker.redemption.sources import SourceInClear, SourceShape
from worker.requests import SourceRequests
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("sources", __name__, url_prefix="/api/v1/sources", tag="Sources")


class NewSource(Taken):
    """A new source."""

    name: str
    organization: str


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(sources.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[sources.Filters]) -> Page[SourceShape]:
    """List sources; never their secrets."""
    return sources.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.get("/<source>")
@allowed(Role.MANAGER)
@gives()
def show(session: Session, actor: Actor, source: str) -> SourceShape:
    """Show a source; never its secrets."""
    return sources.show(session, actor=actor, source=source)


@blueprint.get("/<source>/requests")
@allowed(Role.MANAGER)
@gives()
def latest_requests(session: Session, actor: Actor, source: str) -> SourceRequests:
    """Give the latest 200 requests of a source, refused ones with the reason, and their number by day."""
    return requests.of_source(session, actor=actor, source=source)


@blueprint.post("/<source>/test")
@known(Role.MANAGER)
@gives()
def test(source: str) -> Tested:
    """Post a signed message as the source that redeems nothing, and give what became of it."""
    with connections.session(Login.WEB, sees=g.actor.scope) as session:
        key = sources.signing(session, actor=g.actor, source=source)
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # werkzeug's proxy
    return inward.post_test(app, path=key.path, secret=key.secret, now=key.at)


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
