"""A temporary database login for one run of a report, which reads one organization's tree.

What a login may read depends on session_user (schema.sql, report.visible_organization), which a
notebook cannot change. Each run has its own login with a random password, so runs do not interfere,
and no credential is left afterwards.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import psycopg
from psycopg import errors as postgres
from psycopg import sql
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from worker import errors
from worker.database import budget, connections
from worker.database.connections import Login
from worker.settings import settings

LOGIN_PREFIX = "keypool_report_"
# Variables that give access, and how: database logins, the broker, the secret key, the home.
OPENING = (
    "KEYPOOL_HOME", "KEYPOOL_DATABASE_URL", "KEYPOOL_WEB_DATABASE_URL", "KEYPOOL_REDIS_URL",
    "KEYPOOL_SECRET_KEY", "KEYPOOL_RECEIVER_DATABASE_URL", "KEYPOOL_DIRECT_DATABASE_URL",
    "KEYPOOL_POOLER",
)  # fmt: skip
LIFETIME = "3 hours"  # after that, a killed run's login has expired, and the next run drops it
PAUSES = (0.1, 0.2, 0.5, 1, 2, 4, 8, 16)  # seconds between tries whether a standby knows the login

CREATE = """
    CREATE ROLE {login} LOGIN PASSWORD {verifier} VALID UNTIL {until} CONNECTION LIMIT {connections}
    NOCREATEDB NOCREATEROLE NOREPLICATION"""

END_SESSIONS = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :login")
FORGET = text("DELETE FROM report_login WHERE login = :login")
REMEMBER = text(
    "INSERT INTO report_login (login, organization_id) VALUES (:login, :organization_id)"
)
EXISTS = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :login)")
ABANDONED = text("""
    SELECT login FROM report_login LEFT JOIN pg_roles ON rolname = login
     WHERE rolname IS NULL OR rolvaliduntil < now()
       FOR UPDATE OF report_login SKIP LOCKED
""")


class ReportLoginError(errors.KeypoolError):
    """A report on one organization needs a database login of its own, which could not be made."""


@contextmanager
def login(organization_id: int | None) -> Iterator[str]:
    """Make a login for one organization's tree, or take the analyst's for all; gives its URL.

    Raises:
        ReportLoginError: the owner's login may not create roles.
        SettingsError: a report on all organizations needs KEYPOOL_ANALYST_DATABASE_URL.
    """
    if organization_id is None:
        yield _analyst()
        return
    name, password = LOGIN_PREFIX + secrets.token_hex(8), secrets.token_urlsafe(24)
    connections.transaction(_drop_abandoned)
    connections.transaction(_make, login=name, password=password, organization_id=organization_id)
    try:
        yield _known(_url(name, password))
    finally:
        connections.transaction(_drop, login=name)


def analysts_environment() -> dict[str, str]:
    """Give this process's environment with only the analyst's login.

    Raises:
        SettingsError: the database is not embedded, and KEYPOOL_ANALYST_DATABASE_URL is not set.
    """
    known = {name: value for name, value in os.environ.items() if name not in OPENING}
    return known | {"KEYPOOL_ANALYST_DATABASE_URL": _analyst()}


def _make(session: Session, *, login: str, password: str, organization_id: int) -> None:
    connection = cast(psycopg.Connection, session.connection().connection.driver_connection)
    # Send only a hash, so that the server's statement log has no password.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), login.encode(), b"scram-sha-256"
    ).decode()
    name = sql.Identifier(login)
    try:
        until = connection.execute(
            "SELECT (now() + CAST(%s AS interval))::text", [LIFETIME]
        ).fetchall()[0][0]
        connection.execute(
            sql.SQL(CREATE).format(
                login=name, verifier=verifier, until=until, connections=sql.Literal(budget.REPORT)
            )
        )
        connection.execute(
            sql.SQL("GRANT keypool_analyst TO {} WITH INHERIT TRUE, SET FALSE").format(name)
        )
    except postgres.InsufficientPrivilege:
        raise ReportLoginError(
            "A report on one organization gets a database login of its own: let the owner's login "
            "make it, with ALTER ROLE … CREATEROLE and GRANT keypool_analyst TO … WITH ADMIN OPTION."
        ) from None
    session.execute(REMEMBER, {"login": login, "organization_id": organization_id})


def _drop_abandoned(session: Session) -> None:
    for login in session.scalars(ABANDONED).all():
        _drop(session, login=login)


def _drop(session: Session, *, login: str) -> None:
    """Drop a login with everything that its notebook made; nothing if it is gone already."""
    if session.scalar(EXISTS, {"login": login}):
        connection = cast(psycopg.Connection, session.connection().connection.driver_connection)
        name = sql.Identifier(login)
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH INHERIT TRUE").format(name))
        session.execute(END_SESSIONS, {"login": login})
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))
    session.execute(FORGET, {"login": login})


def _analyst() -> str:
    if settings().database_url and not settings().analyst_database_url:
        raise errors.SettingsError(
            "What is not about one organization is read as keypool_analyst: set "
            "KEYPOOL_ANALYST_DATABASE_URL, or name one organization."
        )
    return connections.url(Login.ANALYST)


def _url(login: str, password: str) -> str:
    # Where analysts read, which may be a standby; it is past a pooler, which knows no login that was
    # made a moment ago.
    read = Login.ANALYST if settings().analyst_database_url else Login.DIRECT
    address = make_url(connections.url(read)).set(username=login, password=password)
    return address.render_as_string(hide_password=False)


def _known(url: str) -> str:
    """Wait until a login is known where it reads: a standby hears of it a moment later.

    Raises:
        ReportLoginError: it is not, after a while.
    """
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    for pause in PAUSES:
        if _lets_in(address):
            return url
        time.sleep(pause)
    raise ReportLoginError(
        "The database that KEYPOOL_ANALYST_DATABASE_URL names does not know a login that was made in "
        "KEYPOOL_DATABASE_URL's: it must be that database or a standby that follows it closely."
    )


def _lets_in(address: str) -> bool:
    try:
        psycopg.connect(address).close()
    except psycopg.OperationalError:
        return False
    return True
