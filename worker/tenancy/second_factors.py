"""Second factors: codes of an authenticator app (TOTP, RFC 6238), and recovery codes that stand in for it."""

import re
import secrets as randomness
from base64 import b32encode
from dataclasses import dataclass
from datetime import timedelta

import pyotp
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from worker import errors
from worker.database import outbox
from worker.database.outbox import Mail
from worker.tables.tenancy import RecoveryCode, User
from worker.tenancy import history, secrets, sessions, throttling, web_keys
from worker.tenancy.actors import Actor
from worker.tenancy.sessions import Signed

ISSUER = "keypool"
STEP = 30  # seconds of a code
NEIGHBOURS = (0, -1, 1)  # steps by which a phone's clock may be off
CODES = 10  # recovery codes
CODE_BYTES = 15  # 24 characters: too many to be guessed from a plain hash
WRONG = "That code is not right, or was used already; take the next one."


@dataclass(frozen=True)
class Enrolment:
    """A second factor that is not set up yet: what an app scans, or a person types; and it, sealed."""

    secret: str
    uri: str
    sealed: str


def enrol(email: str, sealed: str | None = None) -> Enrolment:
    """Make a secret for a user's app; or give the one that was made before, sealed.

    Raises:
        InvalidInputError: it was not sealed here, for this user to set up.
    """
    secret = pyotp.random_base32() if sealed is None else _opened(sealed, email)
    uri = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)
    return Enrolment(
        secret, uri, sealed or secrets.encrypt(_label(email) + secret.encode()).decode()
    )


def set_up(session: Session, signed: Signed, *, sealed: str, code: str) -> list[str]:
    """Set a user's second factor up with the first code of their app, and give new recovery codes.

    Raises:
        InvalidInputError: the code is wrong.
    """
    secret = _opened(sealed, signed.email)
    step = _step(session, secret, code)
    if step is None:
        raise errors.InvalidInputError(WRONG, field="code")
    what = (signed.hash, secrets.encrypt(secret.encode()), step)
    set_up = func.set_up_second_factor(*what, web_keys.proofs("set up", *what))
    if not session.scalar(select(set_up)):
        raise errors.ForbiddenError
    user = session.get_one(User, signed.user_id)
    _remember(session, signed.actor, "second factor set up", user)
    return renew_codes(session, user_id=user.id)


def admit(session: Session, signed: Signed) -> timedelta:
    """Count a code that is tried, and give how long it has to wait, if so; commit before trying."""
    return throttling.admit_code(session, user_id=signed.user_id)


def give(session: Session, signed: Signed, *, code: str) -> bool:
    """Take a code of a user's app, or a recovery code, each once; say whether it is right.

    Works with the web's login: whose second factor is asked for has not entered yet.
    """
    letters = re.sub("[^A-Z2-7]", "", code.upper())  # of a recovery code, however it is typed
    what = (signed.hash, _step_of_app(session, signed, code), sessions.digest(letters))
    given = func.give_second_factor(*what, web_keys.proofs("second factor", *what))
    right = bool(session.scalar(select(given)))
    if right:
        throttling.forgive_code(session, user_id=signed.user_id)
    return right


def renew_codes(session: Session, *, user_id: int) -> list[str]:
    """Make recovery codes, given only now; those made before work no more."""
    before = (RecoveryCode.user_id == user_id, RecoveryCode.ended_at.is_(None))
    session.execute(update(RecoveryCode).where(*before).values(ended_at=func.clock_now()))
    codes = [b32encode(randomness.token_bytes(CODE_BYTES)).decode() for _ in range(CODES)]
    session.add_all(RecoveryCode(user_id=user_id, hash=sessions.digest(code)) for code in codes)
    session.flush()
    return ["-".join(re.findall("....", code)) for code in codes]


def codes_left(session: Session, *, user_id: int) -> int:
    """Count a user's recovery codes that work."""
    live = (RecoveryCode.user_id == user_id, RecoveryCode.ended_at.is_(None))
    return session.scalar(select(func.count()).where(*live)) or 0


def remove(session: Session, *, actor: Actor, user: User) -> None:
    """Remove a user's second factor, and tell them by mail, in their organization's name or the seller's."""
    session.execute(select(func.remove_second_factor(user.id)))
    session.expire(user, ["has_second_factor"])
    renewed = (RecoveryCode.user_id == user.id, RecoveryCode.ended_at.is_(None))
    session.execute(update(RecoveryCode).where(*renewed).values(ended_at=func.clock_now()))
    _remember(session, actor, "second factor reset", user)
    outbox.write(
        session,
        kind="second_factor_reset",
        organization_id=user.organization_id,
        mails=[Mail(user.email, data={"actor": actor.name})],
    )


def _step_of_app(session: Session, signed: Signed, code: str) -> int | None:
    sealed = session.scalar(select(func.sealed_second_factor(signed.hash)))
    return _step(session, secrets.decrypt(sealed).decode(), code) if sealed else None


def _step(session: Session, secret: str, code: str) -> int | None:
    """Give the time step of a code, by the true clock, which the app's is: not by the shifted one (T2)."""
    now = int(session.scalar(select(func.extract("epoch", func.now()))) or 0)
    app, digits = pyotp.TOTP(secret), re.sub(r"\s", "", code)
    for offset in NEIGHBOURS:
        if app.verify(digits, for_time=now + offset * STEP):
            return now // STEP + offset
    return None


def _opened(sealed: str, email: str) -> str:
    """Open what was sealed for this user to set up; nothing else, since the page shows what it opens."""
    try:
        opened = secrets.decrypt(sealed.encode())
    except errors.SettingsError:
        opened = b""
    if not opened.startswith(_label(email)):
        raise errors.InvalidInputError("Load the page again, and scan its code.")
    return opened.removeprefix(_label(email)).decode()


def _label(email: str) -> bytes:
    return f"to set up for {email}: ".encode()


def _remember(session: Session, actor: Actor, action: str, user: User) -> None:
    session.flush()
    history.remember(session, actor, action, user)
