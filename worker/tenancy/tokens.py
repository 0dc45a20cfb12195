"""API credentials: shown once, stored as a hash, with a role and an organization."""

import hashlib
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Unpack

from sqlalchemy import ColumnElement, and_, func, or_, select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days, errors
from worker.database import connections, lookup
from worker.database.connections import Entry
from worker.database.filters import ListFilters, Sorts, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, paged
from worker.database.searching import spoken
from worker.tables.tenancy import Organization, Token
from worker.tenancy import history, networks, organizations
from worker.tenancy.actors import Actor, Role


class TokenShape(TypedDict):
    """An API credential."""

    id: Id
    """The token's id."""
    name: str
    """Its name."""
    organization: str | None
    """Its organization; null for the operator's tokens."""
    role: Role
    """Its role."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime | None
    """When it expires; null if it does not."""
    works_until: str | None
    """Its end in words, in its organization's time zone."""
    last_used_at: datetime | None
    """When it was last used, to the minute."""
    revoked_at: datetime | None
    """When it was revoked."""
    made_by: str
    """Who made it, as the history tells it; empty where that was not kept yet."""


class TokenInClear(TokenShape):
    """A new token."""

    token: str
    """The token itself, shown only now."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which tokens."""

    sorts: ClassVar[Sorts] = {"name": Token.name}
    sorting: ClassVar[str] = "name: from A to Z."

    search: str | None = by("Pieces of the name, in any order and letter case.", typed="search")
    organization: str | None = by("Those of this organization.")
    role: Role | None = by("Those with this role.")
    working: bool = by("Only those that are neither revoked nor expired.", default=False)


ALL = Filters()
PREFIX = "kp_"

# One query finds a token and sets the transaction's scope to its organizations.
OPEN_DOOR = """
    SELECT id, name, role, organization_id, to_note,
           enter_token(%(hash)s)
      FROM find_token(%(hash)s, %(client)s)
"""


def add(
    session: Session,
    *,
    actor: Actor,
    name: str,
    role: Role,
    organization: str | None = None,
    expires: str | None = None,
) -> TokenInClear:
    """Make a token and give it in clear, only now.

    It expires at the end of the day `expires` (T1), in its organization's time zone, or in UTC for the
    operator's; without that, of the day a year from now.

    Raises:
        InvalidInputError: an operator's token names an organization, or another role's names none; or
            it would have expired already.
        ForbiddenError: the actor is neither the operator nor a manager.
    """
    actor.require(Role.MANAGER)
    if (role is Role.OPERATOR) != (organization is None):
        raise errors.InvalidInputError(
            "An operator's token belongs to no organization; every other role needs one.",
            field="organization",
        )
    owner = organizations.find(session, actor=actor, name=organization) if organization else None
    if role is Role.OPERATOR:
        actor.require()
    clear = PREFIX + secrets.token_urlsafe(32)
    token = Token(
        name=name.strip(),
        role=role,
        organization_id=owner and owner.id,
        hash=digest(clear),
        expires_at=_end(session, expires, owner),
        made_by=actor.name,
    )
    session.add(token)
    session.flush()
    _remember(session, actor, "token added", token)
    return {**shape(token, owner), "token": clear}


def revoke(session: Session, *, actor: Actor, token: str) -> TokenShape:
    """Revoke a token, by id or name, at once; idempotent."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, token)
    if found.revoked_at is None:
        found.revoked_at = session.scalar(select(func.clock_now()))
        _remember(session, actor, "token revoked", found)
    owner = found.organization_id and session.get(Organization, found.organization_id)
    return shape(found, owner or None)


def made_by(session: Session, names: Collection[str]) -> dict[str, list[str]]:
    """Give the names of the tokens that some people made and that work, newest first, by who made them."""
    made = select(Token.made_by, Token.name).where(Token.made_by.in_(names), _works())
    found: dict[str, list[str]] = {name: [] for name in names}
    for maker, token in session.execute(made.order_by(Token.id.desc())):
        found[maker].append(token)
    return found


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[TokenShape]:
    """List the tokens of the actor's organizations, newest first, a page at a time."""
    actor.require(Role.MANAGER)
    statement = (
        select(Token)
        .add_columns(Organization)
        .join(Organization, isouter=True)
        .where(actor.sees(Token.organization_id), *_chosen(session, actor, filters))
    )
    return paged(
        session,
        statement,
        by=Token.id,
        shape=lambda row: shape(row.Token, row.Organization),
        newest_first=True,
        sorts=Filters.sorts,
        **page,
    )


@dataclass(frozen=True)
class Known:
    """A valid token; `to_note` is true if its use was not recorded within the last minute."""

    id: int
    actor: Actor
    to_note: bool


def authenticate(session: Session, clear: str, *, client: str) -> Known | None:
    """Find a bearer token, and set the session's scope to its organizations; None if it is invalid.

    `client` is the network address of who sent it.

    Works with the web's login, before any tenancy is set.
    """
    hashed = digest(clear)
    asked = {"hash": hashed, "client": networks.shortened(client)}
    row = session.connection().exec_driver_sql(OPEN_DOOR, asked).one_or_none()
    if row is None:
        return None
    name, entry = f"token {row.id} ({row.name})", Entry("enter_token", (hashed,))
    actor = Actor(name, Role(row.role), row.organization_id, entry)
    return Known(row.id, actor, row.to_note)


def note(session: Session, clear: str, *, client: str) -> None:
    """Record that a token was used: once a minute, and whenever it came from another network."""
    noted = {"hash": digest(clear), "client": networks.shortened(client)}
    session.execute(text("SELECT note_token(:hash, :client)"), noted)


def digest(clear: str) -> bytes:
    """Hash a token; with 256 random bits it needs neither a salt nor a slow hash."""
    return hashlib.sha256(clear.encode()).digest()


def shape(token: Token, owner: Organization | None) -> TokenShape:
    """Give a token's public fields; never the token itself."""
    end = token.expires_at
    return {
        "id": str(token.id),
        "name": token.name,
        "organization": owner.name if owner else None,
        "role": token.role,
        "created_at": token.created_at,
        "expires_at": end,
        "works_until": days.end_in_words(end, _zone(owner)) if end else None,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
        "made_by": token.made_by,
    }


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    yield from spoken(filters.search, Token.name)
    if filters.organization is not None:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        yield Token.organization_id == owner.id
    if filters.role is not None:
        yield Token.role == filters.role
    if filters.working:
        yield _works()


def _works() -> ColumnElement[bool]:
    live = or_(Token.expires_at.is_(None), Token.expires_at > func.clock_now())
    return and_(Token.revoked_at.is_(None), live)


def _zone(owner: Organization | None) -> str:
    return owner.time_zone if owner else "UTC"


def _end(session: Session, expires: str | None, owner: Organization | None) -> datetime:
    if expires is None:
        expires = (connections.clock_now(session) + days.YEAR).date().isoformat()
    end = days.instant(expires, zone=_zone(owner), field="expires_at", end=True)
    if end <= connections.clock_now(session):
        raise errors.InvalidInputError(
            f"A token that ends with {expires} is over already; give a later end.",
            field="expires_at",
        )
    return end


def _find(session: Session, actor: Actor, name: str) -> Token:
    seen = [actor.sees(Token.organization_id)]
    return lookup.find(session, Token, thing="token", name=name, named=Token.name, within=seen)


def _remember(session: Session, actor: Actor, action: str, token: Token) -> None:
    history.remember(session, actor, action, token, name=token.name, role=token.role)
