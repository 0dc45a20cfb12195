"""Acts on the rows that were selected in a list: what each would do, doing it, and what became of each row."""

from secrets import token_hex
from typing import Any

from flask import render_template, request
from flask import url_for as url
from sqlalchemy.orm import Session

from webhook.console.access import READERS, page
from webhook.console.answers import done
from webhook.console.choosing import asked, chosen, place
from webhook.console.forms import filled, whole
from webhook.console.frame import blueprint
from webhook.console.words import number
from webhook.http import files, nudging
from worker.bulk import bulk_acts, previewing, selecting
from worker.bulk.acting import ACTS, Kind
from worker.bulk.bulk_acts import AT_ONCE, UNFINISHED, BulkActShape
from worker.bulk.selecting import Assignments, Keys, Selection
from worker.database import patience
from worker.learning import assignments
from worker.pools import keys
from worker.tenancy.actors import Actor, Role

NAMES = {
    Kind.EXTEND: "Extend assignments",
    Kind.CANCEL: "Cancel assignments",
    Kind.RETIRE: "Retire keys",
    Kind.REPLACE: "Replace keys",
    Kind.DISTRIBUTE: "Distribute keys",
    Kind.MAIL: "Mail keys",
    Kind.REMIND: "Mail learners",
}


@blueprint.get("/assignments/selected/extend")
@page(Role.MANAGER)
def ask_to_extend(session: Session, actor: Actor) -> Any:
    """Show what extending the selected assignments would do and cost."""
    return _asked(session, actor, Kind.EXTEND, _assignments())


@blueprint.post("/assignments/selected/extend")
@page(Role.MANAGER, on="ask_to_extend")
def extend_selected(session: Session, actor: Actor) -> Any:
    """Extend the selected assignments, by days or until a day, free or at a price."""
    fields: dict[str, Any] = filled("until", "price", "by_days")
    if "by_days" in fields:
        fields["by_days"] = whole(fields["by_days"], field="by_days")
    return _done(session, actor, Kind.EXTEND, _assignments(), fields)


@blueprint.get("/assignments/selected/cancel")
@page(Role.MANAGER)
def ask_to_cancel(session: Session, actor: Actor) -> Any:
    """Show what cancelling the selected assignments would do, and what is credited."""
    return _asked(session, actor, Kind.CANCEL, _assignments())


@blueprint.post("/assignments/selected/cancel")
@page(Role.MANAGER, on="ask_to_cancel")
def cancel_selected(session: Session, actor: Actor) -> Any:
    """Cancel the selected assignments."""
    fields = {**filled("reason"), "retire_key": "retire_key" in request.form}
    return _done(session, actor, Kind.CANCEL, _assignments(), fields)


@blueprint.get("/pools/<pool>/keys/selected/retire")
@page(Role.MANAGER)
def ask_to_retire(session: Session, actor: Actor, pool: str) -> Any:
    """Show what retiring the selected keys would do."""
    return _asked(session, actor, Kind.RETIRE, _keys(pool))


@blueprint.post("/pools/<pool>/keys/selected/retire")
@page(Role.MANAGER, on="ask_to_retire")
def retire_selected(session: Session, actor: Actor, pool: str) -> Any:
    """Retire the selected keys."""
    return _done(session, actor, Kind.RETIRE, _keys(pool), {})


@blueprint.get("/pools/<pool>/keys/selected/replace")
@page(Role.MANAGER)
def ask_to_replace(session: Session, actor: Actor, pool: str) -> Any:
    """Show what replacing the selected keys would do, and how many the pool has to give."""
    return _asked(session, actor, Kind.REPLACE, _keys(pool))


@blueprint.post("/pools/<pool>/keys/selected/replace")
@page(Role.MANAGER, on="ask_to_replace")
def replace_selected(session: Session, actor: Actor, pool: str) -> Any:
    """Retire the selected keys, and give their recipients others."""
    return _done(session, actor, Kind.REPLACE, _keys(pool), filled("reason"))


@blueprint.get("/pools/<pool>/keys/selected/distribute")
@page(Role.MANAGER)
def ask_to_distribute(session: Session, actor: Actor, pool: str) -> Any:
    """Show what distributing the selected keys would do, and what they cost once they are redeemed."""
    return _asked(session, actor, Kind.DISTRIBUTE, _keys(pool))


@blueprint.post("/pools/<pool>/keys/selected/distribute")
@page(Role.MANAGER, on="ask_to_distribute")
def distribute_selected(session: Session, actor: Actor, pool: str) -> Any:
    """Give the selected keys to one recipient."""
    return _done(session, actor, Kind.DISTRIBUTE, _keys(pool), filled("recipient", "reference"))


@blueprint.get("/assignments/selected/mail")
@page(Role.MANAGER)
def ask_to_remind(session: Session, actor: Actor) -> Any:
    """Show what mailing the learners of the selected assignments would do."""
    return _asked(session, actor, Kind.REMIND, _assignments())


@blueprint.post("/assignments/selected/mail")
@page(Role.MANAGER, on="ask_to_remind")
def remind_selected(session: Session, actor: Actor) -> Any:
    """Mail the learners of the selected assignments about their access."""
    nudging.after_commit("mail")
    return _done(session, actor, Kind.REMIND, _assignments(), filled("mail"))


@blueprint.get("/pools/<pool>/keys/selected/mail")
@page(Role.MANAGER)
def ask_to_mail(session: Session, actor: Actor, pool: str) -> Any:
    """Show what mailing the selected keys to their holders would do."""
    return _asked(session, actor, Kind.MAIL, _keys(pool))


@blueprint.post("/pools/<pool>/keys/selected/mail")
@page(Role.MANAGER, on="ask_to_mail")
def mail_selected(session: Session, actor: Actor, pool: str) -> Any:
    """Mail the selected keys to their holders."""
    nudging.after_commit("mail")
    return _done(session, actor, Kind.MAIL, _keys(pool), filled("template"))


@blueprint.get("/bulk-acts", endpoint="bulk_acts")
@page(*READERS)
def bulk_acts_page(session: Session, actor: Actor) -> Any:
    """List the acts on many rows, newest first."""
    filters = chosen(bulk_acts.Filters)
    listed = bulk_acts.listing(session, actor=actor, filters=filters, **place())
    return render_template("bulk_acts.html", listed=listed, names=NAMES, filtered=bulk_acts.Filters)


@blueprint.get("/bulk-acts/<act>")
@page(*READERS)
def bulk_act(session: Session, actor: Actor, act: str) -> Any:
    """Show an act on many rows: how far it is, and what became of each row."""
    shown = bulk_acts.show(session, actor=actor, act=act)
    refused = "refused" in request.args
    listed = bulk_acts.rows(session, actor=actor, act=act, refused=refused, **place())
    of_keys = ACTS[shown["act"]].on is Keys
    return render_template("bulk_act.html", it=shown, listed=listed, names=NAMES, of_keys=of_keys)


@blueprint.get("/bulk-acts/<act>/progress")
@page(*READERS)
def bulk_act_progress(session: Session, actor: Actor, act: str) -> Any:
    """Give an act's progress, which reloads itself while the worker is at it."""
    shown = bulk_acts.show(session, actor=actor, act=act)
    return render_template("bulk_act_progress.html", it=shown)


@blueprint.get("/bulk-acts/<act>.csv")
@page(*READERS)
def bulk_act_report(session: Session, actor: Actor, act: str) -> Any:
    """Give what became of every row as CSV."""
    act_id = str(bulk_acts.find(session, actor=actor, act=act).id)
    return files.table(f"bulk-act-{act_id}.csv", bulk_acts.report_csv, actor=actor, act=act_id)


@blueprint.post("/bulk-acts/<act>/cancel")
@page(Role.MANAGER, on="bulk_act")
def stop_bulk_act(session: Session, actor: Actor, act: str) -> Any:
    """Cancel an act: what was done stays done."""
    stopped = bulk_acts.cancel(session, actor=actor, act=act)
    words = f"It is cancelled after {number(stopped['worked'])} of {number(stopped['requested'])}."
    return done(words, "bulk_act", act=act)


def _assignments() -> Assignments:
    """Read which assignments are selected: some, or all that fit the list's filters."""
    if "all" in request.args:
        return Assignments(filters=chosen(assignments.Filters))
    return Assignments(selecting.named(request.args.getlist("row")))


def _keys(pool: str) -> Keys:
    """Read which keys of a pool are selected, likewise."""
    if "all" in request.args:
        return Keys(pool, filters=chosen(keys.Filters))
    return Keys(pool, selecting.named(request.args.getlist("row")))


def _asked(session: Session, actor: Actor, kind: Kind, selection: Selection) -> Any:
    """Show what an act would do: as a page, or as the part of one that htmx requested."""
    patience.unhurried(session)
    costs = previewing.preview(session, actor=actor, act=kind, selection=selection)
    part = "HX-Request" in request.headers
    return render_template(
        "ask_part.html" if part else "ask.html",
        it=costs,
        asked_as=token_hex(16),
        part=part,
        back=_back(selection),
    )


def _back(selection: Selection) -> str:
    """Give the address of the list in which something was selected, with its filters."""
    filters: dict[str, Any] = {**asked(chosen(type(selection.filters)))}
    if isinstance(selection, Keys):
        return url("console.pool", pool=selection.pool, _anchor="keys", **filters)
    return url("console.assignments", **filters)


def _done(
    session: Session, actor: Actor, kind: Kind, selection: Selection, fields: dict[str, Any]
) -> Any:
    """Do an act, or have the worker do it, and lead to its results."""
    patience.unhurried(session)
    form = request.form
    act = bulk_acts.ask(
        session,
        actor=actor,
        act=kind,
        selection=selection,
        fields=fields,
        expected=whole(form["expected"], field="expected") if form.get("expected") else None,
        asked_as=form.get("asked_as") or None,
    )
    if act["state"] in UNFINISHED:
        nudging.after_commit("work_batches")
    return done(_told(act), "bulk_act", act=act["id"])


def _told(act: BulkActShape) -> str:
    """Say what became of an act that was just asked for."""
    if act["state"] in UNFINISHED:
        return f"More than {AT_ONCE} rows: the worker does it, and this page tells of each."
    refused = f"; {number(act['refused'])} refused" if act["refused"] else ""
    return f"{number(act['done'])} {ACTS[act['act']].done}{refused}."
