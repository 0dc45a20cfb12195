"""Reminders: what an organization and its people are reminded of by mail."""

from typing import Any

from flask import render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.frame import blueprint
from worker import errors
from worker.outgoing import reminders
from worker.outgoing.reminders import ABOUT_INVOICES, FOR_LEARNERS, USUAL, ReminderShape
from worker.tables.labels import ReminderKind as Kind
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role

# What happens, and what its number counts; in groups by who is told.
WORDS: dict[Kind, tuple[str, str]] = {
    Kind.KEY_UNUSED: ("A key is not redeemed", "Days after it was handed out"),
    Kind.ACCESS_UNLAUNCHED: ("A course is not begun", "Days after the key was redeemed"),
    Kind.ACCESS_ENDING: ("Access ends soon", "Days before its end"),
    Kind.INVOICE_SENT: ("An invoice or credit note is issued", ""),
    Kind.INVOICE_DUE: ("An invoice is due soon", "Days before it is due"),
    Kind.INVOICE_OVERDUE: ("An invoice is overdue", "Days after it was due"),
    Kind.POOL_LOW: ("A pool runs low", "Fewer undistributed keys than"),
    Kind.POOL_ENDING: ("A pool ends with keys left", "Days before its end"),
    Kind.REPORT_MADE: ("A report is ready", ""),
    Kind.TROUBLE: ("An endpoint or a source has failed for a day", ""),
}
GROUPS = (
    ("To learners and recipients", [kind for kind in WORDS if kind in FOR_LEARNERS]),
    ("To the billing address", [kind for kind in WORDS if kind in ABOUT_INVOICES]),
    (
        "To the managers, or to an address of your own",
        [kind for kind in WORDS if kind not in FOR_LEARNERS | ABOUT_INVOICES],
    ),
)


@blueprint.get("/reminders", endpoint="reminders")
@page(Role.MANAGER)
def reminders_page(session: Session, actor: Actor) -> Any:
    """Show which reminders an organization wants, with a form to change that."""
    owners = [one["name"] for one in organizations.in_sight(session, actor=actor)]
    chosen = request.args.get("organization") or (owners[0] if owners else "")
    name = organizations.find(session, actor=actor, name=chosen).name if chosen else ""
    return render_template(
        "reminders.html",
        owners=owners,
        chosen=name,
        wanted=_wanted(session, actor, name),
        words=WORDS,
        groups=GROUPS,
        usual=USUAL,
    )


@blueprint.post("/reminders")
@page(Role.MANAGER, on="reminders")
def save_reminders(session: Session, actor: Actor) -> Any:
    """Want the reminders that are ticked, and no others."""
    asked = request.form.get("organization", "")
    owner = organizations.find(session, actor=actor, name=asked).name
    wanted = _wanted(session, actor, owner)
    for kind in WORDS:
        if kind in request.form:
            _save(session, actor, owner, kind)
        elif kind in wanted:
            reminders.stop(session, actor=actor, organization=owner, kind=kind)
    return done("The reminders are saved.", "reminders", organization=owner)


def _wanted(session: Session, actor: Actor, organization: str) -> dict[Kind, ReminderShape]:
    filters = reminders.Filters(organization=organization)
    listed = reminders.listing(session, actor=actor, filters=filters)
    return {one["kind"]: one for one in listed.items}


def _save(session: Session, actor: Actor, organization: str, kind: Kind) -> None:
    counted = "keys" if kind is Kind.POOL_LOW else "days"
    fields = {counted: f"{kind}_number", "to": f"{kind}_to"}
    number = request.form.get(fields[counted])
    given = {counted: forms.whole(number, field=fields[counted])} if number is not None else {}
    try:
        reminders.save(
            session,
            actor=actor,
            organization=organization,
            kind=kind,
            to=request.form.get(fields["to"]),
            **given,
        )
    except errors.InvalidInputError as error:
        raise errors.InvalidInputError(str(error), field=fields.get(error.field or "")) from None
