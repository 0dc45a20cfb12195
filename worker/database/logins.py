"""The passwords of the web's and the analyst's login, which either may change, and keep others out by that."""

import secrets
from collections.abc import Iterator
from contextlib import suppress

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url
from sqlalchemy.engine import URL

from worker import errors
from worker.database import connections
from worker.database.connections import Login

# The web's and the analyst's login, where their addresses have a password.
CHECKED = (Login.WEB, Login.ANALYST)


def changed() -> list[str]:
    """Give one sentence for each login that does not sign in with its configured password."""
    return [
        f"The login {address.username} does not sign in with its configured password: somebody changed it, "
        "as the login itself may. Run “keypool db upgrade”, which sets it again."
        for address in _kept_out()
    ]


def restore() -> list[str]:
    """Set the configured passwords of logins that do not sign in with theirs; gives a sentence for each."""
    return [_restored(address) for address in _kept_out()]


def _kept_out() -> Iterator[URL]:
    for login in CHECKED:
        with suppress(errors.DatabaseAwayError):
            address = make_url(connections.url(login))
            if address.password and not _signs_in(address):
                yield address


def _signs_in(address: URL) -> bool:
    """Try an address; a refusal for any other reason than the password counts as signing in.

    The server tells no reason in a code, and its words come in its own language. So they are compared with
    what it says to a password that is wrong for certain.
    """
    refused = _refusal(address)
    return refused is None or refused != _refusal(address.set(password=secrets.token_urlsafe()))


def _refusal(address: URL) -> str | None:
    """Give the server's words for why a password did not open it; None if it did, or none was asked for."""
    try:
        psycopg.connect(_plain(address), connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return str(error) if error.pgconn and error.pgconn.used_password else None
    return None


def _restored(address: URL) -> str:
    login, password = str(address.username), str(address.password)
    with connections.connection(Login.DIRECT) as owner:
        # Send only a hash, so that the server's statement log has no password.
        verifier = owner.pgconn.encrypt_password(
            password.encode(), login.encode(), b"scram-sha-256"
        )
        change = SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(login), verifier.decode())
        try:
            owner.execute(change)
        except psycopg.errors.InsufficientPrivilege:
            return (
                f"The login {login} does not sign in with its configured password, and the owner may not "
                f"set it: ALTER ROLE {login} PASSWORD '…', as the superuser."
            )
    return f"The login {login} has its configured password again; somebody had changed it."


def _plain(address: URL) -> str:
    return address.set(drivername="postgresql").render_as_string(hide_password=False)
