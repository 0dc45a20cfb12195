"""Asking for a password: at the sign-in, and again before acts that matter.

No transaction is open while a password is hashed.
"""

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from flask import current_app, request

from worker import errors
from worker.database import connections
from worker.database.connections import Login
from worker.tenancy import passwords, signing_in
from worker.tenancy.sessions import Signed
from worker.tenancy.signing_in import Admission, Attempt

LASTS = timedelta(minutes=10)  # a password that was asked for within this is not asked for again
BUSY = timedelta(seconds=3)
FIELD = "present_password"


class WaitError(errors.RefusedError):
    """Too many attempts lately; wait and try again."""

    def __init__(self, wait: timedelta) -> None:
        self.seconds = ceil(wait.total_seconds())
        count, unit = (
            (self.seconds, "second") if self.seconds < 60 else (-(-self.seconds // 60), "minute")
        )
        spoken = f"{count} {unit}{'s' if count > 1 else ''}"
        super().__init__(f"Too many attempts lately; wait {spoken} and try again.")


class ConfirmFirstError(errors.KeypoolError):
    """Type your password again."""


@dataclass(frozen=True)
class Proof:
    """A password as it was typed at the sign-in of an account: its hash, and the attempt that it is."""

    attempt: Attempt
    admission: Admission
    known_hash: str


def proof(email: str, password: str) -> Proof:
    """Hash a password as the account's own is hashed.

    Raises:
        WaitError: too many attempts have failed, or too many people sign in at this moment.
    """
    made = attempt(email)
    with connections.session(Login.WEB) as opened:
        admission = signing_in.admit(opened, made)
    if admission.wait:
        raise WaitError(admission.wait)
    try:
        return Proof(made, admission, passwords.hashed_alike(password, admission.salt))
    except errors.BusyError:
        raise WaitError(BUSY) from None


def attempt(email: str) -> Attempt:
    """Give the attempt to sign in that this request is."""
    return Attempt(email, request.remote_addr or "", request.cookies.get(device_cookie(), ""))


def confirm(signed: Signed, cookie: str, password: str) -> bool:
    """Check the password of who is signed in, as strictly as at the sign-in; note that it was right.

    The history says what a wrong one was for: the act that this request is.
    """
    made = proof(signed.email, password)
    act = str(request.endpoint).rpartition(".")[2].replace("_", " ")
    with connections.session(Login.WEB) as opened:
        return signing_in.confirm(
            opened,
            made.attempt,
            made.admission,
            cookie=cookie,
            known_hash=made.known_hash,
            about=act,
        )


def require(signed: Signed, cookie: str) -> None:
    """Have the password asked for again, unless that was done a short while ago.

    Raises:
        ConfirmFirstError: it was not given with this form, or it is wrong.
    """
    if signed.since_confirmed < LASTS:
        return
    password = request.form.get(FIELD)
    if password is None:
        raise ConfirmFirstError
    try:
        if not confirm(signed, cookie, password):
            raise ConfirmFirstError("That is not your password.")
    except WaitError as error:
        raise ConfirmFirstError(str(error)) from None


def device_cookie() -> str:
    """Name the cookie by which an account knows a browser that it was used in."""
    return f"{current_app.config['SESSION_COOKIE_NAME']}-device"
