"""Keys: adding, distributing, replacing and retiring them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import tables
from webhook.console.access import page
from webhook.console.answers import NotSavedError, attempt, done
from webhook.console.forms import whole
from webhook.console.frame import blueprint
from webhook.console.words import number
from webhook.http import nudging
from worker import errors
from worker.database import patience
from worker.pools import batches, distributions, keys, pools, replacing, retiring
from worker.pools.distributions import DistributionsMade
from worker.pools.import_reports import ImportReport
from worker.pools.reading import Purpose
from worker.tenancy import templates
from worker.tenancy.actors import Actor, Role

# The page that a table of each purpose is given on, and the part of it that is its preview.
PREVIEWS = {
    Purpose.KEYS: ("add_keys.html", "keys_preview.html"),
    Purpose.RECIPIENTS: ("recipients.html", "recipients_preview.html"),
}


@blueprint.get("/pools/<pool>/keys/add")
@page(Role.MANAGER)
def more_keys(session: Session, actor: Actor, pool: str) -> Any:
    """Show the form that adds keys to a pool."""
    shown = pools.show(session, actor=actor, pool=pool)
    return render_template("add_keys.html", pool=shown, result=None, error=None, columns=[])


@blueprint.post("/pools/<pool>/keys/add")
@page(Role.MANAGER, on="more_keys")
def add_keys(session: Session, actor: Actor, pool: str) -> Any:
    """Add pasted keys, or those of a file; refused ones are shown before anything is saved."""
    made: list[ImportReport] = []
    check = request.form.get("do") == "check"

    def add() -> None:
        patience.unhurried(session)
        table, how = tables.table(), tables.read_as()
        report = keys.import_keys(
            session, actor=actor, pool=pool, stream=table, read_as=how, dry_run=check
        )
        made.append(report)
        if check or (report["refused"] and "anyway" not in request.form):
            raise NotSavedError

    if error := attempt(session, add):
        return _previewed(session, actor, pool, Purpose.KEYS, made, error)
    [report] = made
    nudging.after_commit("work_batches")
    added = (
        "The worker adds the keys"
        if report["batch"]
        else f"{number(report['added'])} keys are added"
    )
    return done(f"{added}.", "pool", pool=pool)


def _previewed(
    session: Session,
    actor: Actor,
    pool: str,
    purpose: Purpose,
    made: Sequence[ImportReport | DistributionsMade],
    error: errors.KeypoolError,
) -> Any:
    """Show a preview of a table: the whole page, or the part that htmx requested."""
    page, part = PREVIEWS[purpose]
    context: dict[str, object] = {
        "result": made[0] if made else None,
        "error": error,
        "columns": [],
    }
    with suppress(errors.InvalidInputError):
        context |= tables.preview(tables.table(), purpose)
    if "HX-Request" in request.headers:
        return render_template(part, **context)
    shown = pools.show(session, actor=actor, pool=pool)
    return render_template(page, pool=shown, **context), 422


@blueprint.post("/pools/<pool>/keys/generate")
@page(Role.MANAGER, on="more_keys")
def generate_keys(session: Session, actor: Actor, pool: str) -> Any:
    """Start a batch that generates keys."""
    count = whole(request.form.get("generate", ""), field="generate")
    labels = [request.form.get("labels", "")]
    batches.generate(session, actor=actor, pool=pool, count=count, labels=labels)
    nudging.after_commit("work_batches")
    return done(f"The worker generates {number(count)} keys.", "pool", pool=pool)


@blueprint.post("/pools/<pool>/distribute")
@page(Role.MANAGER, on="pool")
def distribute(session: Session, actor: Actor, pool: str) -> Any:
    """Give keys to a recipient, and show them."""
    form = request.form
    made = distributions.distribute(
        session,
        actor=actor,
        pool=pool,
        recipient=form.get("recipient", ""),
        count=whole(form["count"], field="count") if form.get("count", "").strip() else None,
        reference=form.get("reference", ""),
        name=form.get("name", ""),
        labels=[form.get("labels", "")],
        mail="mail" in form,
        template=_wording(),
    )
    if "mail" in request.form:
        nudging.after_commit("mail")
    sentence = f"{made['recipient']} has {number(made['given'])} keys."
    filters = {"recipient": made["recipient"], "reference": made["reference"]}
    return done(sentence, "pool", pool=pool, **filters)


def _wording() -> templates.Wording:
    """Read in whose words mails are to be: words of this once where those are ticked."""
    form = request.form
    if "mail" not in form:
        return None
    own = {name: form.get(name, "") if "own" in form else None for name in ("subject", "text")}
    return templates.worded(form.get("template", "").strip(), **own)


@blueprint.get("/pools/<pool>/distribute/table")
@page(Role.MANAGER)
def recipients(session: Session, actor: Actor, pool: str) -> Any:
    """Show the form that gives keys to every recipient in a table."""
    shown = pools.show(session, actor=actor, pool=pool)
    return render_template("recipients.html", pool=shown, result=None, error=None, columns=[])


@blueprint.post("/pools/<pool>/distribute/table")
@page(Role.MANAGER, on="recipients")
def distribute_table(session: Session, actor: Actor, pool: str) -> Any:
    """Give keys to every recipient in a table, or show a preview."""
    made: list[DistributionsMade] = []
    check = request.form.get("do") == "check"

    def hand_out() -> None:
        patience.unhurried(session)
        table, how = tables.table(), tables.read_as()
        made.append(
            distributions.distribute_file(
                session,
                actor=actor,
                pool=pool,
                stream=table,
                read_as=how,
                mail="mail" in request.form,
                template=_wording(),
                dry_run=check,
            )
        )
        if check:
            raise NotSavedError

    if error := attempt(session, hand_out):
        return _previewed(session, actor, pool, Purpose.RECIPIENTS, made, error)
    if "mail" in request.form:
        nudging.after_commit("mail")
    words = f"{number(made[0]['recipients'])} recipients have {number(made[0]['given'])} keys."
    return done(words, "pool", pool=pool)


@blueprint.post("/pools/<pool>/recall")
@page(Role.MANAGER, on="pool")
def recall(session: Session, actor: Actor, pool: str) -> Any:
    """Retire a distribution's unredeemed keys."""
    fields = {name: request.form.get(name, "") for name in ("recipient", "reference")}
    distributions.recall(session, actor=actor, pool=pool, **fields)
    return done("Its unredeemed keys are retired.", "pool", pool=pool)


@blueprint.post("/keys/<code>/replace")
@page(Role.MANAGER, on="trouble")
def replace_key(session: Session, actor: Actor, code: str) -> Any:
    """Replace a key: retire it, and give its recipient another."""
    reason, recipient = request.form.get("reason", ""), request.form.get("recipient")
    made = replacing.replace(session, actor=actor, code=code, reason=reason, recipient=recipient)
    sentence = f"{made['recipient']} has the key {made['code']} in its place."
    return done(sentence, "trouble", q=made["code"])


@blueprint.post("/pools/<pool>/keys/retire")
@page(Role.MANAGER, on="pool")
def retire_key(session: Session, actor: Actor, pool: str) -> Any:
    """Retire one issued key."""
    retiring.retire_one(session, actor=actor, code=request.form.get("code", ""))
    return done("The key is retired; it can be redeemed no more.", "pool", pool=pool)
