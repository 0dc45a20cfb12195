"""Redemptions: every attempt to redeem a key."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import gives
from worker.database.paging import Page
from worker.redemption import attempts
from worker.redemption.attempts import RedemptionShape
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint(
    "redemptions", __name__, url_prefix="/api/v1/redemptions", tag="Redemptions"
)


@blueprint.get("")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
@blueprint.input(query(attempts.Filters), location="query", arg_name="query")
def listing(
    session: Session, actor: Actor, query: Query[attempts.Filters]
) -> Page[RedemptionShape]:
    """List attempts, newest first; a stranger's learner is masked."""
    return attempts.listing(session, actor=actor, filters=query.filters, **query.page)
