"""The redeem page: whose it is, and the keys that are asked for on it, each an event like any other.

A page works with the web's login: it finds an organization by narrow functions of schema.sql, and then
sees that organization alone.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta

from psycopg import Connection
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker import errors
from worker.database import connections
from worker.database.connections import Entry
from worker.pools import codes
from worker.redemption import inbox
from worker.redemption.inbox import Message
from worker.redemption.proofs import Asked, Visit
from worker.settings import settings
from worker.tables.labels import EventType, RedeemPage
from worker.tables.tenancy import Organization
from worker.tenancy import logos, throttling, web_keys

SLUG = re.compile("[a-z0-9-]{1,60}")
SOURCE = "SELECT page_source(%(organization_id)s)"


@dataclass(frozen=True)
class Page:
    """An organization's redeem page, as everybody may see it.

    Attributes:
        open: nobody proves an address there.
        domains: those of the addresses that it takes; none: any.
        languages: those that it comes in; none: all.
    """

    organization_id: int
    name: str
    slug: str
    open: bool
    domains: list[str]
    languages: list[str]
    text: str
    support: str
    colour: str
    locale: str
    has_logo: bool

    def takes(self, email: str) -> bool:
        """Say whether it takes an address."""
        return not self.domains or email.rpartition("@")[2] in self.domains


def of_slug(session: Session, slug: str) -> Page | None:
    """Find the page at a slug; None where there is none, or it is off."""
    if not SLUG.fullmatch(slug.lower()):
        return None
    return of(session, session.scalar(select(func.page_of_slug(slug.lower()))))


def of_key(session: Session, key: str) -> Page | None:
    """Find the page of the organization whose pool a key is of."""
    canonical = codes.canonical(key)
    found = func.page_of_key(canonical, web_keys.proofs("key", canonical))
    return of(session, session.scalar(select(found)))


def of(session: Session, organization_id: int | None) -> Page | None:
    """Give an organization's page, and set the session's scope to the organization; None: it has none."""
    if organization_id is None:
        return None
    connections.enter(session, entry(organization_id))
    it = session.get(Organization, organization_id)
    if it is None or it.redeem_page is RedeemPage.OFF:
        return None
    return Page(
        organization_id=it.id,
        name=it.sender_name or it.name,
        slug=it.slug,
        open=it.redeem_page is RedeemPage.OPEN,
        domains=it.redeem_domains,
        languages=it.redeem_languages,
        text=it.redeem_text,
        support=it.support_email,
        colour=it.colour,
        locale=it.locale,
        has_logo=logos.is_there(session, organization_id=it.id),
    )


def entry(organization_id: int) -> Entry:
    """Give how the web enters as an organization's page; nobody does, where it has none."""
    return Entry("enter_page", (organization_id, web_keys.proofs("page", organization_id)))


def record(connection: Connection, page: Page, visit: Visit, asked: Asked, *, once: str) -> int:
    """Record a visitor's key as an event of the page's source, and give its id; again under the same `once`.

    Another key under the same `once`, as from a form that the back button shows, is another event.

    Raises:
        TooManyGuessesError: rate limit, as of a webhook.
    """
    organization = {"organization_id": page.organization_id}
    row = connection.execute(SOURCE, organization).fetchone()
    if row is None or row[0] is None:
        raise errors.NotFoundError("There is no such page.")
    learner = {"email": visit.email} | ({"name": asked.name} if asked.name else {})
    data = {"key": asked.key, "learner": learner}
    body = json.dumps(data)
    identity = hashlib.sha256(f"{visit.token} {once} {body}".encode()).hexdigest()
    recorded = inbox.record(
        connection,
        source_id=row[0],
        organization_id=page.organization_id,
        webhook_id="page_" + identity[:40],
        body_hash=hashlib.sha256(body.encode()).digest(),
        message=Message(EventType.REDEMPTION_REQUESTED, data),
    )
    return recorded.event_id


def guess(session: Session, *, email: str, client: str) -> None:
    """Count a key that is looked for in all organizations, before it is; commit whatever follows.

    Raises:
        TooManyGuessesError: the address or the client tried too many lately.
    """
    limits = settings()
    worn_off = limits.guess_window / limits.guesses_per_learner
    for subject in _subjects(email, client):
        pause: timedelta = (
            session.scalar(
                select(
                    func.throttle_sign_in(
                        subject, limits.guesses_per_learner, limits.guess_window, worn_off
                    )
                )
            )
            or timedelta()
        )
        if pause:
            raise errors.TooManyGuessesError(retry_after=int(pause.total_seconds()) + 1)


def forgive(session: Session, *, email: str, client: str) -> None:
    """Take the count of a guess back: the key was there."""
    for subject in _subjects(email, client):
        throttling.uncount(session, subject)


def unknown(key: str) -> str:
    """Give the outcome of a key that is no organization's (K4)."""
    return "mistyped_key" if codes.is_mistyped(key) else "unknown_key"


def _subjects(email: str, client: str) -> list[bytes]:
    names = (f"page key {email}", f"page key from {client}")
    return [hashlib.sha256(name.encode()).digest() for name in names]
