"""Sources: external systems that may post webhooks, and their signing secrets, kept encrypted."""

import base64
import secrets
from datetime import timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from worker import errors, history, lookup, organizations
from worker.actors import Actor, Role
from worker.models import Organization, Source, SourceSecret
from worker.settings import settings

SECRET_BYTES = 32


def add(session: Session, *, actor: Actor, name: str, organization: str) -> dict[str, Any]:
    """Add a source and give its signing secret in clear, this once: `{id, name, organization, url, secret}`."""
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    source = Source(name=name.strip(), organization_id=owner.id)
    session.add(source)
    session.flush()
    _remember(session, actor, "source added", source)
    return {**shape(source, owner.name), "secret": _new_secret(session, source)}


def rotate(
    session: Session, *, actor: Actor, source: str, old_valid: timedelta = timedelta(hours=24)
) -> dict[str, Any]:
    """Give a source a new secret; the old ones stay good for `old_valid` at most.

    Raises:
        InvalidInputError: `old_valid` is negative.
    """
    actor.require(Role.MANAGER)
    if old_valid < timedelta():
        raise errors.InvalidInputError(
            "An old secret cannot end in the past; give 0 or more.", field="old_valid"
        )
    found = find(session, actor=actor, name=source)
    end = func.clock_now() + old_valid
    session.execute(
        update(SourceSecret)
        .where(
            SourceSecret.source_id == found.id,
            or_(SourceSecret.expires_at.is_(None), SourceSecret.expires_at > end),
        )
        .values(expires_at=end)
    )
    _remember(session, actor, "source secret rotated", found)
    return {
        **shape(found, session.get_one(Organization, found.organization_id).name),
        "secret": _new_secret(session, found),
    }


def listing(session: Session, *, actor: Actor) -> list[dict[str, Any]]:
    """List the sources of the actor's organizations; never their secrets."""
    actor.require(Role.MANAGER)
    rows = session.execute(
        select(Source, Organization.name)
        .join(Organization)
        .where(actor.sees(Source.organization_id))
        .order_by(Source.id)
    )
    return [shape(source, owner) for source, owner in rows]


def find(session: Session, *, actor: Actor, name: str) -> Source:
    """Find a source of the actor's organizations by name or id."""
    return lookup.find(
        session,
        Source,
        thing="source",
        name=name,
        named=Source.name == name.strip(),
        within=[actor.sees(Source.organization_id)],
    )


def live_secrets(session: Session, *, source_id: int) -> tuple[int | None, list[bytes]]:
    """Give a source's organization and its live secrets, newest first; (None, []) where unknown.

    Works with the web's login before any tenancy is set, through the function find_source.
    """
    rows = session.execute(
        text("SELECT organization_id, encrypted FROM find_source(:id)"), {"id": source_id}
    ).all()
    return (rows[0].organization_id if rows else None), [decrypt(row.encrypted) for row in rows]


def encrypt(secret: bytes) -> bytes:
    """Encrypt a secret with the newest of KEYPOOL_SECRET_KEY."""
    return _cipher().encrypt(secret)


def decrypt(encrypted: bytes) -> bytes:
    """Decrypt a secret with whichever of KEYPOOL_SECRET_KEY it was encrypted with.

    Raises:
        SettingsError: none of them fits.
    """
    try:
        return _cipher().decrypt(encrypted)
    except InvalidToken:
        raise errors.SettingsError(
            "KEYPOOL_SECRET_KEY does not open the secrets in the database; add the key that they "
            "were encrypted with behind the new one."
        ) from None


def shape(source: Source, organization: str) -> dict[str, Any]:
    """Give a source's public fields; `url` is the path to post to."""
    return {
        "id": str(source.id),
        "name": source.name,
        "organization": organization,
        "url": f"/webhooks/{source.id}",
    }


def _new_secret(session: Session, source: Source) -> str:
    secret = secrets.token_bytes(SECRET_BYTES)
    session.add(SourceSecret(source_id=source.id, encrypted=encrypt(secret)))
    session.flush()
    return "whsec_" + base64.b64encode(secret).decode()


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings().secret_keys()])


def _remember(session: Session, actor: Actor, action: str, source: Source) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="source",
        thing_ids=source.id,
        organization_id=source.organization_id,
        name=source.name,
    )
