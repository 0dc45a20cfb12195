"""API credentials: shown once, kept as a hash, with a role and the organization they belong to."""

import hashlib
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from worker import errors, history, organizations
from worker.actors import Actor, Role
from worker.models import Organization, Token

PREFIX = "kp_"


def add(
    session: Session,
    *,
    actor: Actor,
    name: str,
    role: Role,
    organization: str | None = None,
    expires_at: datetime | None = None,
) -> dict[str, Any]:
    """Make a token and give it in clear, this once: `{id, name, organization, role, token}`.

    Raises:
        InvalidInputError: an operator's token names an organization, or another role's none.
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
        expires_at=expires_at,
    )
    session.add(token)
    session.flush()
    _remember(session, actor, "token added", token)
    return {**shape(token, owner.name if owner else None), "token": clear}


def revoke(session: Session, *, actor: Actor, token: str) -> dict[str, Any]:
    """Revoke a token, named by id or name, at once; revoking again changes nothing."""
    actor.require(Role.MANAGER)
    found = _find(session, actor, token)
    if found.revoked_at is None:
        found.revoked_at = session.scalar(select(func.clock_now()))
        _remember(session, actor, "token revoked", found)
    return shape(found, _owner_name(session, found))


def listing(session: Session, *, actor: Actor) -> list[dict[str, Any]]:
    """List the tokens of the actor's organizations, newest first."""
    actor.require(Role.MANAGER)
    rows = session.execute(
        select(Token, Organization.name)
        .join(Organization, isouter=True)
        .where(actor.sees(Token.organization_id))
        .order_by(Token.id.desc())
    )
    return [shape(token, name) for token, name in rows]


def authenticate(session: Session, clear: str) -> tuple[int, Actor] | None:
    """Say whose a bearer token is, None where it lets nobody in; gives its id and the actor.

    Works with the web's login, before any tenancy is set.
    """
    row = session.execute(
        text("SELECT id, name, role, organization_id FROM find_token(:hash)"),
        {"hash": digest(clear)},
    ).one_or_none()
    if row is None:
        return None
    return row.id, Actor(f"token {row.id} ({row.name})", Role(row.role), row.organization_id)


def digest(clear: str) -> bytes:
    """Hash a token; it is random enough (256 bits) that no salt or slow hash adds anything."""
    return hashlib.sha256(clear.encode()).digest()


def shape(token: Token, organization: str | None) -> dict[str, Any]:
    """Give a token's public fields; never the token itself."""
    return {
        "id": str(token.id),
        "name": token.name,
        "organization": organization,
        "role": token.role,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
        "revoked_at": token.revoked_at,
    }


def _find(session: Session, actor: Actor, name: str) -> Token:
    wanted = Token.id == int(name) if name.isdecimal() else Token.name == name
    found = session.scalars(
        select(Token).where(wanted, actor.sees(Token.organization_id)).order_by(Token.id)
    ).all()
    if not found:
        raise errors.NotFoundError(f"There is no token “{name}” in your organizations.")
    if len(found) > 1:
        raise errors.AmbiguousError("token", name, [token.id for token in found])
    return found[0]


def _owner_name(session: Session, token: Token) -> str | None:
    owner = token.organization_id and session.get(Organization, token.organization_id)
    return owner.name if owner else None


def _remember(session: Session, actor: Actor, action: str, token: Token) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="token",
        thing_ids=token.id,
        organization_id=token.organization_id,
        name=token.name,
        role=token.role,
    )
