"""History: who did what to which thing, and when."""

from apiflask import APIBlueprint
from flask import Response, request
from sqlalchemy.orm import Session

from webhook.http import files
from webhook.http.access import allowed
from webhook.http.files import CSV
from webhook.http.openapi import describe
from webhook.http.queries import Query, query
from webhook.http.shapes import gives
from worker.database.paging import Page
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role
from worker.tenancy.history import Act

blueprint = APIBlueprint("history", __name__, url_prefix="/api/v1/history", tag="History")


@blueprint.get("")
@describe(gives=(CSV,))
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(history.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[history.Filters]) -> Page[Act] | Response:
    """List who did what, newest first; with `Accept: text/csv` export everything, oldest first."""
    filters = query.filters
    if request.accept_mimetypes.best_match(["application/json", CSV]) != CSV:
        return history.listing(session, actor=actor, filters=filters, **query.page)
    history.export(session, actor=actor, filters=filters)  # errors must come before streaming
    return files.table("history.csv", history.export, actor=actor, filters=filters)
