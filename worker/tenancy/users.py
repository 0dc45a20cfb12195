"""Users of the console: address, password, and a role in one organization."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Unpack

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import lookup
from worker.database.filters import ListFilters, Sorts, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.database.searching import spoken
from worker.tables.tenancy import Organization, User
from worker.tenancy import (
    history,
    links,
    organizations,
    second_factors,
    sessions,
    tokens,
)
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
    second_factor: bool
    """Whether the user has a second factor."""
    tokens: list[str]
    """Names of the tokens that the user made and that work."""


class UserInvited(UserShape):
    """A user who is to choose a password."""

    link: str | None
    """Where they do so, once; null where it was mailed. A path, unless KEYPOOL_PUBLIC_URL is set."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which users."""

    sorts: ClassVar[Sorts] = {"email": func.lower(User.email)}
    sorting: ClassVar[str] = "email: from A to Z, as it is unless another is asked for."

    search: str | None = by("Pieces of the address, in any order and letter case.", typed="search")
    organization: str | None = by("Those of this organization.")
    role: Role | None = by("Those with this role.")
    disabled: bool = by("Only those who can sign in no more.", default=False)


ALL = Filters()


def add(
    session: Session,
    *,
    actor: Actor,
    email: str,
    new_hash: str,
    role: Role,
    organization: str | None = None,
) -> UserShape:
    """Make a user of the console, with the hash of their password.

    Raises:
        InvalidInputError: an operator names an organization, or another role names none; the address
            is invalid.
        AlreadyExistsError: a user with that address exists.
        ForbiddenError: the actor is neither the operator nor a manager.
    """
    user, owner = _made(session, actor, email, role, organization)
    user.password_hash = new_hash
    _remember(session, actor, "user added", user)
    return _whole(session, user, owner)


def invite(
    session: Session, *, actor: Actor, email: str, role: Role, organization: str | None = None
) -> UserInvited:
    """Make a user who chooses a password by a one-time link, and send or give the link.

    Raises:
        InvalidInputError: an operator names an organization, or another role names none; the address
            is invalid.
        AlreadyExistsError: a user with that address exists.
        ForbiddenError: the actor is neither the operator nor a manager.
    """
    user, owner = _made(session, actor, email, role, organization)
    _remember(session, actor, "user invited", user)
    return {**_whole(session, user, owner), "link": links.send(session, user, kind="invitation")}


def reset(session: Session, *, actor: Actor, user: str) -> UserInvited:
    """Send or give a one-time link by which a user chooses another password; until then the old one holds.

    Raises:
        InvalidInputError: the user is disabled.
    """
    actor.require(Role.MANAGER)
    found = _find(session, actor, user)
    if found.disabled_at is not None:
        raise errors.InvalidInputError("That user is disabled; enable them first.", field="user")
    _remember(session, actor, "password link made", found)
    whole = _whole(session, found, _owner_name(session, found))
    return {**whole, "link": links.send(session, found, kind="reset")}


def reset_second_factor(session: Session, *, actor: Actor, user: str) -> UserShape:
    """Remove a user's second factor, so that they set up another; told by mail, and in the history."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, user)
    second_factors.remove(session, actor=actor, user=found)
    return _whole(session, found, _owner_name(session, found))


def enable(session: Session, *, actor: Actor, user: str) -> UserShape:
    """Let a disabled user sign in again; idempotent."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, user)
    if found.disabled_at is not None:
        found.disabled_at = None
        _remember(session, actor, "user enabled", found)
    return _whole(session, found, _owner_name(session, found))


def change_password(session: Session, *, actor: Actor, user_id: int, new_hash: str) -> UserShape:
    """Change one's own password by its hash, after the present one was asked for; all sessions end."""
    user = session.get_one(User, user_id)
    user.password_hash = new_hash
    sessions.end_all(session, user_id=user.id)
    links.end_all(session, user_id=user.id)
    _remember(session, actor, "password changed", user)
    return _whole(session, user, _owner_name(session, user))


def disable(session: Session, *, actor: Actor, user: str) -> UserShape:
    """Disable a user, and end their sessions and links; idempotent."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, user)
    if found.disabled_at is None:
        found.disabled_at = session.scalar(select(func.clock_now()))
        sessions.end_all(session, user_id=found.id)
        links.end_all(session, user_id=found.id)
        _remember(session, actor, "user disabled", found)
    return _whole(session, found, _owner_name(session, found))


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[UserShape]:
    """List the users of the actor's organizations, by default by address, a page at a time."""
    actor.require(Role.MANAGER)
    statement = (
        select(User)
        .add_columns(Organization.name)
        .join(Organization, isouter=True)
        .where(actor.sees(User.organization_id), *_chosen(session, actor, filters))
    )
    page["sort"] = page.get("sort") or "email"
    found = paged(session, statement, by=User.id, shape=_pair, sorts=Filters.sorts, **page)
    made = tokens.made_by(session, [called(user.email) for user, _ in found.items])
    return found.carrying(
        [shape(user, name, made[called(user.email)]) for user, name in found.items]
    )


def shape(user: User, organization: str | None, made: list[str]) -> UserShape:
    """Give a user's public fields; `made` names the tokens that they made."""
    return {
        "id": str(user.id),
        "email": user.email,
        "organization": organization,
        "role": user.role,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
        "second_factor": user.has_second_factor,
        "tokens": made,
    }


def called(email: str) -> str:
    """Give the name that a user has as an actor."""
    return f"user {email}"


def _made(
    session: Session, actor: Actor, email: str, role: Role, organization: str | None
) -> tuple[User, str | None]:
    actor.require(Role.MANAGER)
    if role is Role.OPERATOR:
        actor.require()
    if (role is Role.OPERATOR) != (organization is None):
        raise errors.InvalidInputError(
            "An operator belongs to no organization; every other role needs one.",
            field="organization",
        )
    owner = organizations.find(session, actor=actor, name=organization) if organization else None
    user = User(email=email.strip(), role=role, organization_id=owner and owner.id)
    try:
        with session.begin_nested():
            session.add(user)
    except errors.AlreadyExistsError:
        _refuse_elsewhere(session, actor, user.email)
        raise
    return user, owner.name if owner else None


def _refuse_elsewhere(session: Session, actor: Actor, email: str) -> None:
    """Refuse an address without saying that a user of others has it."""
    same = func.lower(User.email) == email.lower()
    if session.scalar(select(User.id).where(same, actor.sees(User.organization_id))) is None:
        raise errors.InvalidInputError(
            "That address cannot be used here; give another, or ask whoever operates keypool.",
            field="email",
        ) from None


def _find(session: Session, actor: Actor, name: str) -> User:
    named, seen = func.lower(User.email), [actor.sees(User.organization_id)]
    return lookup.find(
        session, User, thing="user", name=name, named=named, folded=True, within=seen
    )


def _whole(session: Session, user: User, organization: str | None) -> UserShape:
    name = called(user.email)
    return shape(user, organization, tokens.made_by(session, [name])[name])


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    yield from spoken(filters.search, User.email)
    if filters.organization is not None:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        yield User.organization_id == owner.id
    if filters.role is not None:
        yield User.role == filters.role
    if filters.disabled:
        yield User.disabled_at.is_not(None)


def _pair(row: Selected) -> tuple[User, str | None]:
    return row.User, row.name


def _owner_name(session: Session, user: User) -> str | None:
    owner = user.organization_id and session.get(Organization, user.organization_id)
    return owner.name if owner else None


def _remember(session: Session, actor: Actor, action: str, user: User) -> None:
    session.flush()
    history.remember(session, actor, action, user, role=user.role)
