"""One-time links: by them users choose a password, so that nobody types another's."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from worker.database import outbox
from worker.database.connections import clock_now
from worker.database.outbox import Mail
from worker.settings import settings
from worker.tables.tenancy import SignInLink, User
from worker.tenancy import networks, web_keys
from worker.tenancy.sessions import digest

LASTS = timedelta(days=7)


@dataclass(frozen=True)
class Bearer:
    """Who may choose a password by a link."""

    user_id: int
    email: str


def send(session: Session, user: User, *, kind: str) -> str | None:
    """Mail a user a link, and give None; give the link itself where no mail can bring it.

    It comes in the user's organization's name, in the seller's for the operator's users. A mail needs to
    know where this keypool is reached.
    """
    if not are_mailed():
        return address(mint(session, user_id=user.id))
    outbox.write(
        session,
        kind=kind,
        organization_id=user.organization_id,
        mails=[Mail(user.email, data={"user": user.id, "days": LASTS.days})],
    )
    return None


def are_mailed() -> bool:
    """Say whether links come by mail here; else they are shown to whoever makes them."""
    return settings().smtp_url is not None and settings().public_url is not None


def ask(session: Session, *, email: str, client: str) -> None:
    """Mail a link to the user of an address, who forgot their password; nothing says whether there is one.

    It is mailed once a quarter of an hour and five times a day at most. Works before any tenancy is set.
    """
    email, client = email.strip(), networks.shortened(client)
    proofs = web_keys.proofs("mail link", email, client)
    session.execute(select(func.mail_sign_in_link(email, client, LASTS.days, proofs)))


def mint(session: Session, *, user_id: int) -> str:
    """Make a link's token, and keep its hash. Links that were sent before hold until one is used."""
    clear = secrets.token_urlsafe(32)
    ends_at = clock_now(session) + LASTS
    session.add(SignInLink(user_id=user_id, hash=digest(clear), ends_at=ends_at))
    session.flush()
    return clear


def address(clear: str) -> str:
    """Give where a token is used."""
    return f"{(settings().public_url or '').rstrip('/')}/console/links/{clear}"


def bearer(session: Session, clear: str) -> Bearer | None:
    """Give whose link it is; None if it was used, is over or unknown. Works before any tenancy is set."""
    row = session.execute(
        select("*").select_from(func.find_sign_in_link(digest(clear)))
    ).one_or_none()
    return Bearer(row.user_id, row.email) if row else None


def use(session: Session, clear: str, *, new_hash: str) -> bool:
    """Choose a password by a link, and say whether it held; the user's sessions and other links end."""
    return bool(session.scalar(select(func.use_sign_in_link(digest(clear), new_hash))))


def end_all(session: Session, *, user_id: int) -> None:
    """End every link of a user."""
    unused = (SignInLink.user_id == user_id, SignInLink.used_at.is_(None))
    session.execute(update(SignInLink).where(*unused).values(used_at=func.clock_now()))
