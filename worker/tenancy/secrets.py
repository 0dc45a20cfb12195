"""Secrets at rest, and keys derived from KEYPOOL_SECRET_KEY; signing secrets: making, rotating."""

import base64
import hashlib
import secrets
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Literal

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import ColumnElement, func, or_, update
from sqlalchemy.orm import Session

from worker import errors, signatures
from worker.settings import settings

if TYPE_CHECKING:
    from worker.tables.outgoing import EndpointSecret
    from worker.tables.redemption import SourceSecret

SECRET_BYTES = 32

# What the secret key is for. Each has a key of its own, so that one says nothing of another.
Purpose = Literal[
    "sealing", "sessions", "pseudonyms", "unsubscribing", "codes", "proving", "tracing"
]


def add(session: Session, secret: "SourceSecret | EndpointSecret") -> str:
    """Store a new secret in a row, encrypted, and give it in clear, only now: `whsec_…`."""
    made = secrets.token_bytes(SECRET_BYTES)
    secret.encrypted = encrypt(made)
    session.add(secret)
    session.flush()
    return signatures.write_secret(made)


def end(
    session: Session,
    kind: "type[SourceSecret | EndpointSecret]",
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
    return ciphers()[0].encrypt(secret)


def decrypt(encrypted: bytes) -> bytes:
    """Decrypt a secret with the key in KEYPOOL_SECRET_KEY that it was encrypted with.

    Raises:
        SettingsError: none of the keys fits.
    """
    try:
        return MultiFernet(ciphers()).decrypt(encrypted)
    except InvalidToken:
        raise errors.SettingsError(
            "KEYPOOL_SECRET_KEY does not open the secrets in the database; add the key that they "
            "were encrypted with behind the new one."
        ) from None


def derived(purpose: Purpose) -> bytes:
    """Derive 32 bytes for one purpose from the newest key in KEYPOOL_SECRET_KEY (HKDF, RFC 5869)."""
    return _derived(settings().secret_keys()[0], purpose)


def all_derived(purpose: Purpose) -> list[bytes]:
    """Derive as `derived` does from every key, newest first: the first signs, each opens what it signed."""
    return [_derived(key, purpose) for key in settings().secret_keys()]


def ciphers() -> list[Fernet]:
    """Give the ciphers by age: the first encrypts, each opens what it encrypted."""
    return _ciphers(tuple(settings().secret_keys()))


@cache
def _ciphers(keys: tuple[str, ...]) -> list[Fernet]:
    # The first release took a key's bare hash, for sessions too; what it sealed still opens.
    bare = [hashlib.sha256(key.encode()).digest() for key in keys]
    sealing = [_derived(key, "sealing") for key in keys]
    return [Fernet(base64.urlsafe_b64encode(key)) for key in (*sealing, *bare)]


@cache
def _derived(key: str, purpose: Purpose) -> bytes:
    info = f"keypool {purpose}".encode()
    return HKDF(hashes.SHA256(), length=32, salt=None, info=info).derive(key.encode())
