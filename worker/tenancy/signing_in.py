"""Signing in: an attempt is admitted, its password is hashed, and a session begins.

The steps are transactions of their own, so that none is open while a password is hashed. They work
with the web's login, before any tenancy is set.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.tenancy import networks, passwords, sessions, throttling, web_keys
from worker.tenancy.throttling import Attempt

__all__ = ["Attempt"]  # whoever signs in makes one


@dataclass(frozen=True)
class Admission:
    """How long an attempt has to wait; else how its password is hashed, as `salt` says."""

    wait: timedelta
    is_known: bool
    salt: str = ""


def admit(session: Session, attempt: Attempt) -> Admission:
    """Count an attempt, unless it has to wait; commit before the password is tried."""
    admitted, email = throttling.admit(session, attempt), attempt.email.strip()
    if admitted.wait:
        client = networks.shortened(attempt.client)
        proofs = web_keys.proofs("locked", email, client)
        session.execute(select(func.remember_locked(email, client, proofs)))
        return Admission(admitted.wait, admitted.is_known)
    salted = func.password_salt(email, passwords.manner(), web_keys.proofs("salt", email))
    salt = session.scalars(select(salted)).one()
    return Admission(admitted.wait, admitted.is_known, salt)


def begin(
    session: Session,
    attempt: Attempt,
    admission: Admission,
    *,
    known_hash: str,
    device: str,
    browser: str,
) -> str | None:
    """Begin a session, and give its id for the cookie; None where the password's hash is wrong.

    None too where the user is disabled or has to sign in elsewhere: the history alone says “refused”.

    `device` is the cookie by which the account knows this browser the next time.
    """
    began = sessions.begin(
        session,
        email=attempt.email,
        known_hash=known_hash,
        device=device,
        client=networks.shortened(attempt.client),
        browser=browser,
    )
    if began:
        throttling.forgive(session, attempt, is_known=admission.is_known)
    return began


def confirm(
    session: Session,
    attempt: Attempt,
    admission: Admission,
    *,
    cookie: str,
    known_hash: str,
    about: str,
) -> bool:
    """Say whether it is the password of who is signed in, and note that it was asked for again, for an act."""
    client = networks.shortened(attempt.client)
    right = sessions.confirm(session, cookie, known_hash=known_hash, client=client, about=about)
    if right:
        throttling.forgive(session, attempt, is_known=admission.is_known)
    return right
