"""Users of the console: address, password, and a role in one organization."""

import hashlib
from datetime import datetime, timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.lookup import Id
from worker.tables.tenancy import Organization, User
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role


class UserShape(TypedDict):
    """A user of the console."""

    id: Id
    """The user's id."""
    email: str
    """The user's address for signing in."""
    organization: str | None
    """The user's organization; null for the operator's users."""
    role: Role
    """The user's role."""
    created_at: datetime
    """When the user was added."""
    disabled_at: datetime | None
    """When the user was disabled; else null."""


SHORTEST, LONGEST = 12, 200  # characters of a password
SIGN_IN_WINDOW = timedelta(minutes=10)
PER_USER, PER_CLIENT = 10, 100  # attempts in that time: for one user, from one network address


def add(
    session: Session,
    *,
    actor: Actor,
    email: str,
    password: str,
    role: Role,
    organization: str | None = None,
) -> UserShape:
    """Make a user of the console.

    Raises:
        InvalidInputError: an operator names an organization, or another role names none; the address
            or the password is invalid.
        AlreadyExistsError: a user with that address exists.
        ForbiddenError: the actor is neither the operator nor a manager.
    """
    actor.require(Role.MANAGER)
    if role is Role.OPERATOR:
        actor.require()
    if (role is Role.OPERATOR) != (organization is None):
        raise errors.InvalidInputError(
            "An operator belongs to no organization; every other role needs one.",
            field="organization",
        )
    owner = organizations.find(session, actor=actor, name=organization) if organization else None
    user = User(
        email=email.strip(),
        role=role,
        organization_id=owner and owner.id,
        password_hash=_hashed(password),
    )
    session.add(user)
    session.flush()
    _remember(session, actor, "user added", user)
    return shape(user, owner.name if owner else None)


def set_password(session: Session, *, actor: Actor, user: str, password: str) -> UserShape:
    """Give a user a new password; all their sessions end."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, user)
    return _renew(session, actor, found, password)


def change_password(
    session: Session, *, actor: Actor, user_id: int, old: str, new: str
) -> UserShape:
    """Change one's own password; all sessions end.

    Raises:
        InvalidInputError: the old password is wrong, or the new one is invalid.
    """
    user = session.get_one(User, user_id)
    if not _fits(user.password_hash, old):
        raise errors.InvalidInputError("That is not your present password.", field="old")
    return _renew(session, actor, user, new)


def disable(session: Session, *, actor: Actor, user: str) -> UserShape:
    """Disable a user, and end their sessions; idempotent."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, user)
    if found.disabled_at is None:
        found.disabled_at = session.scalar(select(func.clock_now()))
        found.generation += 1
        _remember(session, actor, "user disabled", found)
    return shape(found, _owner_name(session, found))


def listing(session: Session, *, actor: Actor) -> list[UserShape]:
    """List the users of the actor's organizations by address."""
    actor.require(Role.MANAGER)
    rows = session.execute(
        select(User, Organization.name)
        .join(Organization, isouter=True)
        .where(actor.sees(User.organization_id))
        .order_by(func.lower(User.email))
    )
    return [shape(user, name) for user, name in rows]


def may_try(session: Session, *, email: str, client: str) -> bool:
    """Count an attempt to sign in, and say whether it is within the rate limit; commit before trying.

    Unknown addresses are counted like known ones, so that a refusal does not reveal who exists.
    """
    limits = {_subject("user", email): PER_USER, _subject("client", client): PER_CLIENT}
    counts = [
        session.scalar(select(func.note_sign_in(subject, SIGN_IN_WINDOW))) <= limit  # type: ignore[operator]
        for subject, limit in sorted(limits.items())  # always in the same order: rows are locked
    ]
    return all(counts)


def sign_in(session: Session, *, email: str, password: str) -> str | None:
    """Check a password and begin a session; None for a wrong one or an unknown address.

    An unknown address takes as long as a known one. Works with the web's login, before any tenancy is set.
    """
    user = session.execute(select("*").select_from(func.find_user(email.strip()))).one_or_none()
    right = _fits(user.password_hash if user else _nobodys(), password[:LONGEST])
    if user is None or not right:
        return None
    session.execute(select(func.forget_sign_ins(_subject("user", email))))
    return f"{user.id}:{user.generation}"


def resume(session: Session, *, session_id: str) -> tuple[int, Actor] | None:
    """Give the user's id and the actor of a session; None if it is over."""
    user_id, _, generation = session_id.partition(":")
    if not (user_id.isdecimal() and generation.isdecimal()):
        return None
    row = session.execute(
        select("*").select_from(func.find_session(int(user_id), int(generation)))
    ).one_or_none()
    if row is None:
        return None
    return int(user_id), Actor(f"user {row.email}", Role(row.role), row.organization_id)


def shape(user: User, organization: str | None) -> UserShape:
    """Give a user's public fields."""
    return {
        "id": str(user.id),
        "email": user.email,
        "organization": organization,
        "role": user.role,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
    }


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys() -> str:
    return _hasher().hash("of nobody")


def _hashed(password: str) -> str:
    if not SHORTEST <= len(password) <= LONGEST:
        raise errors.InvalidInputError(
            f"A password has {SHORTEST} to {LONGEST} characters.", field="password"
        )
    return _hasher().hash(password)


def _fits(kept: str, password: str) -> bool:
    try:
        return _hasher().verify(kept, password)
    except VerifyMismatchError:
        return False


def _subject(kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{kind} {name.strip().lower()}".encode()).digest()


def _renew(session: Session, actor: Actor, user: User, password: str) -> UserShape:
    user.password_hash = _hashed(password)
    user.generation += 1
    _remember(session, actor, "password changed", user)
    return shape(user, _owner_name(session, user))


def _find(session: Session, actor: Actor, name: str) -> User:
    named, seen = func.lower(User.email), [actor.sees(User.organization_id)]
    return lookup.find(
        session, User, thing="user", name=name, named=named, folded=True, within=seen
    )


def _owner_name(session: Session, user: User) -> str | None:
    owner = user.organization_id and session.get(Organization, user.organization_id)
    return owner.name if owner else None


def _remember(session: Session, actor: Actor, action: str, user: User) -> None:
    session.flush()
    history.remember(session, actor, action, user, role=user.role)
