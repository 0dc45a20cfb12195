"""Sessions: the browsers in which users are signed in, listed, and ended by a person or by time."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Unpack

from sqlalchemy import Select, func, select, text, update
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.connections import Entry
from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, paged
from worker.settings import settings
from worker.tables.tenancy import ConsoleSession, User
from worker.tenancy import history, web_keys
from worker.tenancy.actors import Actor, Role


class SessionShape(TypedDict):
    """A browser in which a user is signed in."""

    id: Id
    """The session's id."""
    user: str
    """Who is signed in."""
    client: str
    """The network that the sign-in came from, such as `192.0.2.0/24`."""
    browser: str
    """What the browser called itself."""
    began_at: datetime
    """When the user signed in."""
    last_seen_at: datetime
    """When the session was last used, to the minute."""
    ends_at: datetime
    """When it ends at the latest."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which sessions."""

    user: str | None = by("Of this user, by address or id.", longest=320)


@dataclass(frozen=True)
class Signed:
    """A signed-in user: the session, who acts, and how long ago the password was asked for."""

    session_id: int
    hash: bytes = field(repr=False)
    user_id: int
    email: str
    actor: Actor
    since_confirmed: timedelta
    lacks: str | None  # a “code” of the second factor, or a “second factor” to set up; or nothing


ALL = Filters()

# As long as that, an account knows the browser that it was used in.
DEVICE_KEPT = timedelta(days=180)
REMOVE = text("""
    DELETE FROM console_session WHERE id = ANY (ARRAY(
        SELECT id FROM console_session WHERE ends_at < clock_now() - CAST(:kept AS interval)
         ORDER BY ends_at LIMIT :limit FOR UPDATE SKIP LOCKED))
    RETURNING 1
""")


def begin(
    session: Session, *, email: str, known_hash: str, device: str, client: str, browser: str
) -> str | None:
    """Begin the session of who knows the hash of a user's password, and give its id for the cookie.

    None for a wrong hash, an unknown address, or a user who may not sign in with a password; the history
    tells which. Works with the web's login, before any tenancy is set.
    """
    clear, address = secrets.token_urlsafe(32), email.strip()
    hashed, lasting = digest(clear), settings().session_lasts
    proofs = web_keys.proofs("sign in", address, known_hash, hashed)
    began = func.begin_session(
        address, known_hash, hashed, digest(device), client, browser[:200], lasting, proofs
    )
    return clear if session.scalar(select(began)) else None


def resume(session: Session, clear: str) -> Signed | None:
    """Give whose session a cookie's id is; None if it is over."""
    hashed, idle = digest(clear), settings().session_idle
    resumed = func.resume_session(hashed, idle, settings().public_url is not None)
    row = session.execute(select("*").select_from(resumed)).one_or_none()
    if row is None:
        return None
    entry = Entry("enter_session", (hashed, idle))
    actor = Actor(f"user {row.email}", Role(row.role), row.organization_id, entry)
    return Signed(row.id, hashed, row.user_id, row.email, actor, row.since_confirmed, row.lacks)


def confirm(session: Session, clear: str, *, known_hash: str, client: str, about: str) -> bool:
    """Note that the user's password was asked for again, for an act; say whether this is its hash.

    False too for a user who may not sign in with it any more; the history tells which, and what it was about.
    """
    hashed = digest(clear)
    proofs = web_keys.proofs("confirm", hashed, known_hash)
    confirmed = func.confirm_session(hashed, known_hash, client, about, proofs)
    return bool(session.scalar(select(confirmed)))


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[SessionShape]:
    """List the sessions that go on, of users of the actor's organizations, newest first."""
    actor.require(Role.MANAGER)
    statement = _going_on().where(actor.sees(User.organization_id))
    if filters.user is not None:
        of_user = func.lower(User.email) == filters.user.strip().lower()
        if lookup.is_id(filters.user):
            of_user |= User.id == int(filters.user)
        statement = statement.where(of_user)
    return paged(session, statement, by=ConsoleSession.id, shape=shape, newest_first=True, **page)


def own(session: Session, *, user_id: int) -> list[SessionShape]:
    """List a user's sessions that go on, the one used last first."""
    statement = _going_on().where(User.id == user_id).order_by(ConsoleSession.last_seen_at.desc())
    return [shape(row) for row in session.execute(statement)]


def end(session: Session, *, actor: Actor, ended: str) -> SessionShape:
    """End a session of a user of the actor's organizations; idempotent."""
    actor.require(Role.MANAGER)
    return _end_one(session, actor, ended, actor.sees(User.organization_id))


def end_own(session: Session, *, actor: Actor, user_id: int, ended: str) -> SessionShape:
    """End one of a user's own sessions; idempotent."""
    return _end_one(session, actor, ended, User.id == user_id)


def sign_out(session: Session, signed: Signed) -> None:
    """End a session, because its user signs out."""
    session.execute(select(func.end_session(signed.hash)))


def end_every(session: Session, *, actor: Actor, user_id: int) -> None:
    """End every session of one's own."""
    count = end_all(session, user_id=user_id)
    _remember(session, actor, "sessions ended", user_id, actor.organization_id, count=count)


def end_all(session: Session, *, user_id: int) -> int:
    """End every session of a user, and give how many there were."""
    going_on = (ConsoleSession.user_id == user_id, ConsoleSession.ended_at.is_(None))
    ended = update(ConsoleSession).where(*going_on).values(ended_at=func.clock_now())
    return session.execute(ended).rowcount  # type: ignore[attr-defined,no-any-return]  # of a cursor


def remove_old(session: Session, *, limit: int) -> int:
    """Delete up to `limit` sessions by which no account knows a device any more."""
    return len(session.scalars(REMOVE, {"kept": DEVICE_KEPT, "limit": limit}).all())


def digest(clear: str) -> bytes:
    """Hash a random id; with 256 random bits it needs neither a salt nor a slow hash."""
    return hashlib.sha256(clear.encode()).digest()


def shape(row: Any) -> SessionShape:
    """Give a session's public fields."""
    one: ConsoleSession = row.ConsoleSession
    return {
        "id": str(one.id),
        "user": row.email,
        "client": one.client,
        "browser": one.browser,
        "began_at": one.created_at,
        "last_seen_at": one.last_seen_at,
        "ends_at": one.ends_at,
    }


def _end_one(session: Session, actor: Actor, ended: str, seen: Any) -> SessionShape:
    named = ConsoleSession.id == (int(ended) if lookup.is_id(ended) else -1)
    row = session.execute(_sessions().where(named, seen)).one_or_none()
    if row is None:
        raise errors.NotFoundError(f"There is no session “{ended}” in your organizations.")
    one: ConsoleSession = row.ConsoleSession
    if one.ended_at is None:
        one.ended_at = session.scalar(select(func.clock_now()))
        whose = (one.user_id, row.organization_id)
        _remember(session, actor, "session ended", *whose, client=one.client)
    return shape(row)


def _remember(
    session: Session,
    actor: Actor,
    action: str,
    user_id: int,
    organization_id: int | None,
    **detail: object,
) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="user",
        thing_ids=user_id,
        organization_id=organization_id,
        **detail,
    )


def _sessions() -> Select[Any]:
    columns: list[Any] = [ConsoleSession, User.email, User.organization_id]
    return select(*columns).join(User, User.id == ConsoleSession.user_id)


def _going_on() -> Select[Any]:
    now = func.clock_now()
    return _sessions().where(
        ConsoleSession.ended_at.is_(None),
        ConsoleSession.ends_at > now,
        ConsoleSession.last_seen_at > now - settings().session_idle,
    )
