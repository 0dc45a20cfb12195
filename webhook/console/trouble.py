"""“My key does not work”: a search by key or address."""

from typing import Any

from flask import redirect, render_template, request
from flask import url_for as url
from sqlalchemy.orm import Session

from webhook.console.access import READERS, page
from webhook.console.frame import blueprint
from worker import errors
from worker.pools import codes, pools
from worker.redemption.trouble import show
from worker.tenancy.actors import Actor


@blueprint.get("/trouble")
@page(*READERS)
def trouble(session: Session, actor: Actor) -> Any:
    """Show a key's state, its attempts, and what would happen now."""
    query = request.args.get("q", "").strip()
    if "@" in query:
        return redirect(url("console.learner", email=query), 303)
    learner = request.args.get("as", "").strip() or None
    context: dict[str, object] = {"key": None, "words": None}
    if query:
        try:
            key = show(session, actor=actor, code=query, dry_run=learner)
            context |= {"key": key, "pool": pools.show(session, actor=actor, pool=key["pool"])}
        except (errors.NotFoundError, errors.InvalidInputError) as error:
            context |= {"words": str(error), "mistyped": codes.is_mistyped(query)}
    return render_template("trouble.html", q=query, learner=learner, **context)
