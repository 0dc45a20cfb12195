"""Users of the console: address, password, and a role in one organization."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.lookup import Id
from worker.tables.tenancy import Organization, User
from worker.tenancy import history, organizations, passwords, sessions
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
        password_hash=passwords.hashed(password),
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


def change_password(session: Session, *, actor: Actor, user_id: int, password: str) -> UserShape:
    """Change one's own password, after the present one was asked for; all sessions end."""
    return _renew(session, actor, session.get_one(User, user_id), password)


def disable(session: Session, *, actor: Actor, user: str) -> UserShape:
    """Disable a user, and end their sessions; idempotent."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, user)
    if found.disabled_at is None:
        found.disabled_at = session.scalar(select(func.clock_now()))
        sessions.end_all(session, user_id=found.id)
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


def _renew(session: Session, actor: Actor, user: User, password: str) -> UserShape:
    user.password_hash = passwords.hashed(password)
    sessions.end_all(session, user_id=user.id)
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
