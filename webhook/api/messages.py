"""Messages: mails in the organizations' names."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http import nudging
from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import gives
from worker.database.paging import Page
from worker.outgoing import messages
from worker.outgoing.messages import MessageShape, MessageShown
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("messages", __name__, url_prefix="/api/v1/messages", tag="Messages")


@blueprint.get("")
@allowed(Role.MANAGER)
@gives()
@blueprint.input(query(messages.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[messages.Filters]) -> Page[MessageShape]:
    """List mails, newest first."""
    return messages.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.get("/<message>")
@allowed(Role.MANAGER)
@gives()
def show(session: Session, actor: Actor, message: str) -> MessageShown:
    """Show a mail with what it says."""
    return messages.show(session, actor=actor, message=message)


@blueprint.post("/<message>/resend")
@allowed(Role.MANAGER)
@gives()
def resend(session: Session, actor: Actor, message: str) -> MessageShape:
    """Send a mail again, to the same address."""
    nudging.after_commit("mail")
    return messages.resend(session, actor=actor, message=message)
