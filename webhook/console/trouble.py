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
    wanted = request.args.get("q", "").strip()
    if "@" in wanted:
        return redirect(url("console.learner", email=wanted), 303)
    learner = request.args.get("as", "").strip() or None
    told: dict[str, Any] = {"key": None, "words": None}
    if wanted:
        try:
            key = show(session, actor=actor, code=wanted, dry_run=learner)
            told |= {"key": key, "pool": pools.show(session, actor=actor, pool=key["pool"])}
        except (errors.NotFoundError, errors.InvalidInputError) as error:
            told |= {"words": str(error), "mistyped": codes.is_mistyped(wanted)}
    return render_template("trouble.html", q=wanted, learner=learner, **told)
