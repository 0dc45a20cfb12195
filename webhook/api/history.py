"""History: who did what to which thing, and when."""

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http import files
from webhook.http.access import allowed
from webhook.http.files import CSV
from webhook.http.instants import Instant
from webhook.http.openapi import describe
from webhook.http.shapes import Sorted, gives
from worker.database.lookup import BIGGEST_ID
from worker.database.paging import Page
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role
from worker.tenancy.history import Act

blueprint = APIBlueprint("history", __name__, url_prefix="/api/v1/history", tag="History")


class Query(Sorted):
    """Which acts."""

    organization: str | None = Field(None, max_length=200)
    thing: str | None = Field(None, description="Such as pool or assignment.", max_length=40)
    thing_id: int | None = Field(None, ge=0, le=BIGGEST_ID)
    action: str | None = Field(None, description="Such as “pool paused”.", max_length=40)
    by: str | None = Field(None, description="Who, as `actor` tells.", max_length=320)
    since: Instant | None = Field(None, description="At this time or later.")
    until: Instant | None = Field(None, description="Before this time.")


@blueprint.get("")
@describe(gives=(CSV,))
@allowed(Role.MANAGER)
@gives()
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Page[Act] | Response:
    """List who did what, newest first; with `Accept: text/csv` export it all, oldest first."""
    wanted = query.page()
    if request.accept_mimetypes.best_match(["application/json", CSV]) != CSV:
        return history.listing(session, actor=actor, **wanted)
    filters = {
        name: value for name, value in wanted.items() if name not in {"after", "limit", "sort"}
    }
    history.export(session, actor=actor, **filters)  # what is refused is refused before a stream
    return files.table("history.csv", history.export, actor=actor, **filters)
