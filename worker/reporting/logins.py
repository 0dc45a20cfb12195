"""A database login for one run of a report: it reads one organization's tree, and then is gone.

What a login may read hangs on session_user (schema.sql, report.visible_organization), which
nothing that a notebook does can change. Each run has a login of its own, with a password that
nobody else knows, so no two runs disturb each other and nothing is left to steal.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import psycopg
from psycopg import errors as postgres
from psycopg import sql
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from worker import errors
from worker.database import connections
from worker.settings import settings

PREFIX = "keypool_report_"
# What opens something: a login of the database, the broker, secrets at rest, or the home with all.
OPENING = (
    "KEYPOOL_HOME", "KEYPOOL_DATABASE_URL", "KEYPOOL_WEB_DATABASE_URL", "KEYPOOL_REDIS_URL",
    "KEYPOOL_SECRET_KEY",
)  # fmt: skip
LIFETIME = "3 hours"  # a killed run's login opens nothing after that, and the next run drops it
CONNECTIONS = 4

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
    """Give the database URL of a login for one organization's tree, or of the analyst for all.

    Raises:
        ReportLoginError: the owner's login may not create roles.
        SettingsError: a report on all organizations needs the analyst's login, which is not set.
    """
    if organization_id is None:
        yield _analyst()
        return
    name, password = PREFIX + secrets.token_hex(8), secrets.token_urlsafe(24)
    connections.transaction(_drop_abandoned)
    connections.transaction(_make, login=name, password=password, organization_id=organization_id)
    try:
        yield _url(name, password)
    finally:
        connections.transaction(_drop, login=name)


def analysts_environment() -> dict[str, str]:
    """Give this process's environment with the analyst's login in place of all others.

    Raises:
        SettingsError: the database is not the embedded one, and the analyst's login is not set.
    """
    known = {name: value for name, value in os.environ.items() if name not in OPENING}
    return known | {"KEYPOOL_ANALYST_DATABASE_URL": _analyst()}


def _make(session: Session, *, login: str, password: str, organization_id: int) -> None:
    connection = cast(psycopg.Connection, session.connection().connection.driver_connection)
    # Only a hash travels: the server's log of statements holds no password.
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
                login=name, verifier=verifier, until=until, connections=sql.Literal(CONNECTIONS)
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
    """Drop a login with all that its notebook may have made; nothing where it is gone."""
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
    return connections.url(connections.Login.ANALYST)


def _url(login: str, password: str) -> str:
    address = make_url(connections.url()).set(username=login, password=password)
    return address.render_as_string(hide_password=False)
