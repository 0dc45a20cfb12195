"""Unsubscribing from reminders and scheduled reports: by a signed link in each (RFC 8058).

It works without signing in.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import errors
from worker.database import lookup
from worker.languages.phrases import phrase
from worker.settings import settings
from worker.tenancy import secrets, web_keys

PATH = "/unsubscribe/"
SIGNATURE_BYTES = 16
NO_LINK = phrase("This link does not work; copy it whole from the mail.")

SENDER = text("SELECT organization, locale, notebook FROM sender_of(:id, :proofs)")
UNSUBSCRIBE = text("SELECT unsubscribe(:id, :proofs)")


def link(message_id: int) -> str:
    """Give the address by which the receiver of a message wants no more reminders."""
    key = secrets.derived("unsubscribing")
    return settings().web_url(f"{PATH}{message_id}.{_signature(key, message_id)}")


@dataclass(frozen=True)
class Sender:
    """Where a message came from.

    Attributes:
        organization: the organization, as its mails name it.
        locale: its language.
        notebook: what the scheduled report that it brought is made from; None for a reminder.
    """

    organization: str
    locale: str
    notebook: str | None


def sender(session: Session, *, token: str) -> Sender:
    """Give where a link's message came from.

    Raises:
        NotFoundError: the link is not one of ours.
    """
    row = session.execute(SENDER, _asked(token)).mappings().one_or_none()
    if row is None:
        raise _no_link()
    return Sender(**row)


def unsubscribe(session: Session, *, token: str) -> None:
    """Send the address of a link's message no more of that report, or no more reminders; safe to repeat.

    Raises:
        NotFoundError: the link is not one of ours.
    """
    session.execute(UNSUBSCRIBE, _asked(token))


def _asked(token: str) -> dict[str, int | bytes]:
    message_id = _read(token)
    return {"id": message_id, "proofs": web_keys.proofs("unsubscribe", message_id)}


def _read(token: str) -> int:
    """Read the message's id of a link, whose signature any of the secret keys has made."""
    number, _, signature = token.partition(".")
    if not lookup.is_id(number):
        raise _no_link()
    made = (_signature(key, int(number)) for key in secrets.all_derived("unsubscribing"))
    if not any(hmac.compare_digest(one.encode(), signature.encode()) for one in made):
        raise _no_link()
    return int(number)


def _signature(key: bytes, message_id: int) -> str:
    digest = hmac.new(key, str(message_id).encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:SIGNATURE_BYTES]).decode().rstrip("=")


def _no_link() -> errors.NotFoundError:
    return errors.NotFoundError(NO_LINK)
