"""Reminders: what organizations and their people are reminded of by mail."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import Changes, Taken, gives, left_out
from worker import days
from worker.database.paging import Page
from worker.outgoing import reminders
from worker.outgoing.reminders import ReminderShape
from worker.tables.labels import ReminderKind
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("reminders", __name__, url_prefix="/api/v1/reminders", tag="Messages")


class WantedReminder(Changes):
    """A reminder that is wanted; what is left out stays as it is, or is as usual."""

    organization: str = Field()
    kind: ReminderKind = Field()
    days: int = left_out(ge=1, le=days.MAX_DAYS, description="How many days before or after.")
    keys: int = left_out(ge=1, le=1_000_000_000, description="Keys left: a pool is low below.")
    to: str = left_out(max_length=320, description="Who gets it; empty: the managers.")


class UnwantedReminder(Taken):
    """A reminder that is wanted no more."""

    organization: str
    kind: ReminderKind


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(reminders.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[reminders.Filters]) -> Page[ReminderShape]:
    """List the reminders that organizations want."""
    return reminders.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(WantedReminder, arg_name="body")
def save(session: Session, actor: Actor, body: WantedReminder) -> ReminderShape:
    """Want a reminder from now on, or change one."""
    return reminders.save(session, actor=actor, **body.given())


@blueprint.post("/stop")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(UnwantedReminder, arg_name="body")
def stop(session: Session, actor: Actor, body: UnwantedReminder) -> ReminderShape:
    """Want a reminder no more."""
    return reminders.stop(session, actor=actor, organization=body.organization, kind=body.kind)
