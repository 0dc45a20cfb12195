"""Batches: listing, progress, cancelling, and import reports."""

from typing import Any

from flask import render_template
from sqlalchemy.orm import Session

from webhook.console.access import READERS, page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.console.words import number
from webhook.http import files
from worker.pools import batches
from worker.tenancy.actors import Actor, Role


@blueprint.get("/batches", endpoint="batches")
@page(*READERS)
def batches_page(session: Session, actor: Actor) -> Any:
    """List batches, newest first: a pool's, or all."""
    filters = chosen(batches.Filters)
    listed = batches.listing(session, actor=actor, filters=filters, **place(30))
    return render_template("batches.html", listed=listed, filtered=batches.Filters)


@blueprint.get("/batches/<batch>/progress")
@page(*READERS)
def progress(session: Session, actor: Actor, batch: str) -> Any:
    """Give a batch's progress bar, which reloads itself while the batch runs."""
    return render_template("progress.html", batch=batches.show(session, actor=actor, batch=batch))


@blueprint.post("/batches/<batch>/cancel")
@page(Role.MANAGER, on="batches")
def cancel_batch(session: Session, actor: Actor, batch: str) -> Any:
    """Cancel a batch; keys that it made stay."""
    made = batches.cancel(session, actor=actor, batch=batch)
    words = f"The batch is cancelled; the {number(made['made'])} keys that it made stay."
    return done(words, "batches", pool=made["pool"])


@blueprint.get("/batches/<batch>.csv")
@page(*READERS)
def batch_report(session: Session, actor: Actor, batch: str) -> Any:
    """Give an import's report with every line."""
    batch_id = str(batches.find(session, actor=actor, batch=batch).id)
    return files.table(f"batch-{batch_id}.csv", batches.report_csv, actor=actor, batch=batch_id)
