"""Messages: mails in an organization's name, their state, and sending one again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from sqlalchemy import ColumnElement, Select, select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup, paging
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, paged
from worker.languages.phrasebooks import phrasebook
from worker.outgoing import composing, framing, retries
from worker.outgoing.framing import Letterhead, Logo
from worker.settings import settings
from worker.tables.labels import MessageState
from worker.tables.mail import Message
from worker.tables.tenancy import Organization
from worker.tenancy import addresses, history, logos, organizations, templates
from worker.tenancy.actors import Actor, Role
from worker.tenancy.templates import TemplateText


class MessageShape(TypedDict):
    """A mail to one person, sent or still to be sent."""

    id: Id
    """The message's id."""
    kind: str
    """What the mail is about: `keys`, the recipient's keys; `code`, a one-time code; `invitation`,
    `reset` or `second_factor_reset` of a user; `scheduled_report` or `scheduled_report_failed`; or a reminder's
    kind, such as `pool_low`."""
    organization: str | None
    """The organization in whose name it is sent; null where it is in the seller's."""
    recipient: str
    """The address that it is sent to."""
    distribution: Id | None
    """The keys that it is about."""
    state: MessageState
    """Whether the mail server accepted it."""
    attempts: int
    """How often it was tried."""
    happened_at: datetime
    """When it was asked for."""
    due_at: datetime | None
    """When it is tried next; null once it ended."""
    ended_at: datetime | None
    """When the mail server accepted it, or when it was set apart (a dead letter)."""
    error: str | None
    """Why the last attempt failed."""


class TemplatePreview(TemplateText):
    """What a template says, with values made up."""

    html: str
    """The same as a page, as mail programs show it."""


class MessageShown(MessageShape):
    """A mail with what it says."""

    message_id: str
    """Its Message-ID; every retry has the same, a mail that is sent again has another."""
    subject: str | None
    """Its subject; null after its body was blanked (redacted)."""
    text: str | None
    """Its text; null after that was blanked (redacted)."""
    html: str | None
    """The same as a page, as mail programs show it."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which messages."""

    recipient: str | None = by("To this address.", longest=320)
    since: datetime | None = by("Asked for at this time or later.")
    failed: bool = by("Only those that are set apart for a person.", default=False)


ALL = Filters()

# Starts the retries anew. A mail that ended gets another Message-ID: mail programs hide a second one
# with the same. The address is tried again, for later mails too.
RESEND = text(f"""
    UPDATE message
       SET {retries.ANEW}, refused = false,
           identity = CASE WHEN state = 'waiting' THEN identity ELSE gen_random_uuid() END
     WHERE id = :id AND data IS NOT NULL
    RETURNING id
""")  # noqa: S608  # a constant

TRY_AGAIN = text("""
    UPDATE message SET refused = false
     WHERE refused AND recipient_lower = :recipient
       AND organization_id IS NOT DISTINCT FROM CAST(:organization_id AS bigint)
""")


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[MessageShape]:
    """List the mails in the name of the actor's organizations, newest first."""
    actor.require(Role.MANAGER)
    statement = _seen(actor).where(*_chosen(filters))
    return paged(session, statement, by=Message.id, shape=shape, newest_first=True, **page)


def total(session: Session, *, actor: Actor, filters: Filters, most: int | None = None) -> int:
    """Count the mails that the list would show, as `paging.total` does."""
    actor.require(Role.MANAGER)
    mails = select(Message.id).where(actor.sees(Message.organization_id), *_chosen(filters))
    return paging.total(session, mails, most)


def _chosen(filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.recipient is not None:
        spelled = addresses.asked(filters.recipient, field="recipient")
        yield Message.recipient_lower.in_(spelled)
    if filters.failed:
        yield Message.state == MessageState.FAILED
    if filters.since is not None:
        yield Message.happened_at >= filters.since


def show(session: Session, *, actor: Actor, message: str) -> MessageShown:
    """Show a message with what its mail says."""
    actor.require(Role.MANAGER)
    row = _find(session, actor, message)
    said = _composed(session, row.Message.id)
    return {
        **shape(row),
        "message_id": composing.message_id(str(row.Message.identity)),
        "subject": said.subject if said else None,
        "text": said.text if said else None,
        "html": said.html if said else None,
    }


def resend(session: Session, *, actor: Actor, message: str) -> MessageShape:
    """Send a message again, to the same address alone; one that the mail server refused, too.

    Raises:
        NotFoundError: there is no such message, or its body was blanked.
    """
    actor.require(Role.MANAGER)
    found: Message = _find(session, actor, message).Message
    if session.scalar(RESEND, {"id": found.id}) is None:
        raise errors.NotFoundError(f"The body of message “{message}” is kept no longer.")
    who = {"recipient": found.recipient_lower, "organization_id": found.organization_id}
    session.execute(TRY_AGAIN, who)
    history.remember(session, actor, "message resent", found, recipient=found.recipient)
    return shape(_find(session, actor, message))


def preview(
    session: Session, *, actor: Actor, subject: str, text: str, organization: str | None = None
) -> TemplatePreview:
    """Give what a template says to somebody, with values made up, as an organization's mail.

    Raises:
        InvalidInputError: it does not work, or does not say the key.
        NotFoundError: there is no such organization.
    """
    actor.require(Role.MANAGER)
    shown = templates.preview(subject=subject, text=text)
    head, locale = Letterhead(str(templates.SAMPLE["organization"])), None
    if organization:
        owner = organizations.find(session, actor=actor, name=organization)
        head, locale = _letterhead(session, owner), owner.locale
    language = phrasebook(locale).language
    page = framing.html(
        head, subject=shown["subject"], text=shown["text"], language=language, is_mailed=False
    )
    return {**shown, "html": page}


def _letterhead(session: Session, owner: Organization) -> Letterhead:
    kept = logos.of(session, organization_id=owner.id)
    logo = Logo(kept.content, kept.width // 2, kept.height // 2) if kept else None
    colour = owner.colour or framing.COLOUR
    return Letterhead(owner.sender_name or owner.name, colour=colour, logo=logo)


def shape(row: Any) -> MessageShape:
    """Give a message's public fields."""
    message: Message = row.Message
    waits = message.state is MessageState.WAITING
    return {
        "id": str(message.id),
        "kind": message.kind,
        "organization": row.name,
        "recipient": message.recipient,
        "distribution": str(of_keys) if (of_keys := message.distribution_id) else None,
        "state": message.state,
        "attempts": message.attempts,
        "happened_at": message.happened_at,
        "due_at": message.due_at if waits else None,
        "ended_at": message.ended_at,
        "error": message.error,
    }


def _composed(session: Session, message_id: int) -> composing.Composed | None:
    """Compose a message's mail as it would be sent now; None where there is nothing to send.

    A one-time code is its recipient's alone. It is shown where no mail server is set and somebody copies
    the mails.
    """
    for facts in composing.facts(session, [message_id]):
        try:
            return composing.compose(facts, codes=settings().smtp_url is None, is_mailed=False)
        except composing.NothingToSendError:
            return None
    return None


def _find(session: Session, actor: Actor, message: str) -> Any:
    message_id = int(message) if lookup.is_id(message) else -1
    row = session.execute(_seen(actor).where(Message.id == message_id)).one_or_none()
    if row is None:
        raise errors.NotFoundError(f"There is no message “{message}” in your organizations.")
    return row


def _seen(actor: Actor) -> Select[Any]:
    columns: list[Any] = [Message, Organization.name]
    return (
        select(*columns)
        .join(Organization, Organization.id == Message.organization_id, isouter=True)
        .where(actor.sees(Message.organization_id))
        .execution_options(populate_existing=True)  # SQL changed what the session may remember
    )
