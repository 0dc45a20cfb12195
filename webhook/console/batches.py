"""Batches: progress while they run, cancelling, and what became of an import's lines."""

from typing import Any

from flask import Response, render_template
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.console.access import READERS, page
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker import batches, patience
from worker.actors import Actor, Role


@blueprint.get("/batches/<batch>/progress")
@page(*READERS)
def progress(session: Session, actor: Actor, batch: str) -> Any:
    """Give a batch's progress bar, which asks for itself again while the batch runs."""
    return render_template("progress.html", batch=batches.show(session, actor=actor, batch=batch))


@blueprint.post("/batches/<batch>/cancel")
@page(Role.MANAGER)
def cancel_batch(session: Session, actor: Actor, batch: str) -> Any:
    """Cancel a batch; the keys that it made stay."""
    made = batches.cancel(session, actor=actor, batch=batch)
    return done("The batch is cancelled; the keys that it made stay.", "pool", pool=made["pool"])


@blueprint.get("/batches/<batch>.csv")
@page(*READERS)
def batch_report(session: Session, actor: Actor, batch: str) -> Any:
    """Give what became of every line of an import."""
    patience.unhurried(session)
    content = b"".join(batches.report_csv(session, actor=actor, batch=batch))
    told = shapes.attachment(f"batch-{batch}.csv")
    return Response(content, mimetype="text/csv", headers=told)
