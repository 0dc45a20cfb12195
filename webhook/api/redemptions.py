"""Redemptions: every attempt to spend a key."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.instants import Instant
from webhook.http.shapes import Sorted, gives
from worker.database.paging import Page
from worker.redemption import attempts
from worker.redemption.attempts import RedemptionShape
from worker.tables.labels import RedemptionOutcome
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint(
    "redemptions", __name__, url_prefix="/api/v1/redemptions", tag="Redemptions"
)


class Query(Sorted):
    """Which attempts."""

    pool: str | None = Field(None, max_length=200)
    outcome: RedemptionOutcome | None = None
    learner: str | None = Field(None, description="An e-mail address.", max_length=320)
    since: Instant | None = Field(None, description="Received at this time or later.")
    until: Instant | None = Field(None, description="Received before this time.")


@blueprint.get("")
@allowed(Role.MANAGER, Role.ANALYST)
@gives()
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Page[RedemptionShape]:
    """List attempts, newest first; a stranger's learner is masked."""
    return attempts.listing(session, actor=actor, **query.page())
