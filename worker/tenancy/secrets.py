"""Signing secrets of sources and endpoints: making, encrypting at rest, rotating."""

import secrets
from datetime import timedelta

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import ColumnElement, func, or_, update
from sqlalchemy.orm import Session

from worker import errors, signatures
from worker.settings import settings
from worker.tables.outgoing import EndpointSecret
from worker.tables.redemption import SourceSecret

SECRET_BYTES = 32


def add(session: Session, secret: SourceSecret | EndpointSecret) -> str:
    """Store a new secret in a row, encrypted, and give it in clear, only now: `whsec_…`."""
    made = secrets.token_bytes(SECRET_BYTES)
    secret.encrypted = encrypt(made)
    session.add(secret)
    session.flush()
    return signatures.write_secret(made)


def end(
    session: Session,
    kind: type[SourceSecret | EndpointSecret],
    whose: ColumnElement[bool],
    *,
    old_valid: timedelta,
) -> None:
    """Let live secrets expire after `old_valid` at the latest.

    Raises:
        InvalidInputError: `old_valid` is negative.
    """
    if old_valid < timedelta():
        raise errors.InvalidInputError(
            "An old secret cannot end in the past; give 0 or more.", field="old_valid"
        )
    last = func.clock_now() + old_valid
    lasting = or_(kind.expires_at.is_(None), kind.expires_at > last)
    session.execute(update(kind).where(whose, lasting).values(expires_at=last))


def encrypt(secret: bytes) -> bytes:
    """Encrypt a secret with the newest key in KEYPOOL_SECRET_KEY."""
    return _cipher().encrypt(secret)


def decrypt(encrypted: bytes) -> bytes:
    """Decrypt a secret with the key in KEYPOOL_SECRET_KEY that it was encrypted with.

    Raises:
        SettingsError: none of the keys fits.
    """
    try:
        return _cipher().decrypt(encrypted)
    except InvalidToken:
        raise errors.SettingsError(
            "KEYPOOL_SECRET_KEY does not open the secrets in the database; add the key that they "
            "were encrypted with behind the new one."
        ) from None


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings().secret_keys()])
