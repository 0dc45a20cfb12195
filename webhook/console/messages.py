"""Messages: mails in the organizations' names."""

from typing import Any

from flask import render_template
from sqlalchemy.orm import Session

from webhook.console import letters
from webhook.console.access import page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.http import nudging
from worker.outgoing import messages
from worker.settings import settings
from worker.tenancy.actors import Actor, Role


@blueprint.get("/messages", endpoint="messages")
@page(Role.MANAGER)
def messages_page(session: Session, actor: Actor) -> Any:
    """List mails, newest first, or some of them."""
    filters = chosen(messages.Filters)
    listed = messages.listing(session, actor=actor, filters=filters, **place())
    return render_template("messages.html", listed=listed, filtered=messages.Filters)


@blueprint.get("/messages/<message>")
@page(Role.MANAGER)
def message(session: Session, actor: Actor, message: str) -> Any:
    """Show a mail with what it says, to be copied where no mail server is set."""
    shown = messages.show(session, actor=actor, message=message)
    return letters.page(
        "message.html", shown["html"], it=shown, is_mailed=settings().smtp_url is not None
    )


@blueprint.post("/messages/<message>/resend")
@page(Role.MANAGER, on="message")
def resend_message(session: Session, actor: Actor, message: str) -> Any:
    """Send a mail again, to the same address."""
    messages.resend(session, actor=actor, message=message)
    nudging.after_commit("mail")
    return done("It is sent again.", "message", message=message)
