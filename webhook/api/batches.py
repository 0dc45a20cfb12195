"""Batches: bulk jobs that add keys to pools."""

from apiflask import APIBlueprint
from flask import Response, request
from sqlalchemy.orm import Session

from webhook.http import files
from webhook.http.access import allowed
from webhook.http.openapi import describe
from webhook.http.queries import Query, query
from webhook.http.shapes import gives
from worker.database.paging import Page
from worker.pools import batches
from worker.pools.batches import BatchShape
from worker.pools.import_reports import ImportReport
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("batches", __name__, url_prefix="/api/v1/batches", tag="Batches")

READERS = (Role.MANAGER, Role.ANALYST)


@blueprint.get("")
@allowed(*READERS)
@gives()
@blueprint.input(query(batches.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[batches.Filters]) -> Page[BatchShape]:
    """List batches, newest first."""
    return batches.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.get("/<batch>")
@allowed(*READERS)
@gives()
def show(session: Session, actor: Actor, batch: str) -> BatchShape:
    """Show a batch and its progress."""
    return batches.show(session, actor=actor, batch=batch)


@blueprint.get("/<batch>/report")
@describe(gives=(files.CSV,))
@allowed(*READERS)
@gives()
def report(session: Session, actor: Actor, batch: str) -> ImportReport | Response:
    """Show an import's report; with `Accept: text/csv` every line of it."""
    if request.accept_mimetypes.best_match(["application/json", files.CSV]) != files.CSV:
        return batches.report(session, actor=actor, batch=batch)
    batch_id = str(batches.find(session, actor=actor, batch=batch).id)
    return files.table(f"batch-{batch_id}.csv", batches.report_csv, actor=actor, batch=batch_id)


@blueprint.post("/<batch>/cancel")
@allowed(Role.MANAGER)
@gives()
def cancel(session: Session, actor: Actor, batch: str) -> BatchShape:
    """Cancel a batch; keys that it made stay."""
    return batches.cancel(session, actor=actor, batch=batch)
