"""Database logins that read one organization's tree: for one run of a report, or for as long as somebody wants.

What a login may read depends on session_user (schema.sql, report.visible_organization), which a
notebook cannot change. Each run has its own login with a random password, so runs do not interfere,
and no credential is left afterwards. Lasting logins are made and ended in `worker.reporting.lasting`.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import psycopg
from psycopg import errors as postgres
from psycopg import sql
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from worker import errors
from worker.database import budget, connections
from worker.database.connections import Login
from worker.reporting import rendering
from worker.reporting.lake import places
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
# A guard against accidents: who has the login may set these otherwise, and reads no more by that.
SET = "ALTER ROLE {login} SET {name} = {value}"

END_SESSIONS = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :login")
FORGET = text("DELETE FROM report_login WHERE login = :login")
REMEMBER = text("""
    INSERT INTO report_login (login, organization_id, lasting, made_by)
    VALUES (:login, :organization_id, :lasting, :made_by)
""")
EXISTS = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :login)")
ABANDONED = text("""
    SELECT login FROM report_login LEFT JOIN pg_roles ON rolname = login
     WHERE NOT lasting AND (rolname IS NULL OR rolvaliduntil < now())
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
    connections.transaction(_drop_abandoned)
    made = new()
    connections.transaction(make, made=made, organization_id=organization_id, lifetime=LIFETIME)
    try:
        yield known(made)
    finally:
        connections.transaction(drop, login=made.name)


def analysts_environment() -> dict[str, str]:
    """Give this process's environment with only the analyst's login, and our settings of Jupyter.

    Raises:
        SettingsError: the database is not embedded, and KEYPOOL_ANALYST_DATABASE_URL is not set.
    """
    known = {name: value for name, value in os.environ.items() if name not in OPENING}
    jupyter = [str(rendering.NOTEBOOKS / "jupyter"), known.get("JUPYTER_CONFIG_PATH")]
    return known | {
        "KEYPOOL_ANALYST_DATABASE_URL": _analyst(),
        "KEYPOOL_LAKE": places.address(),
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, jupyter)),
    }


@dataclass(frozen=True)
class Made:
    """A login and its password, which is nowhere else."""

    name: str
    password: str


def new() -> Made:
    """Draw a login's name and password."""
    return Made(LOGIN_PREFIX + secrets.token_hex(8), secrets.token_urlsafe(24))


def make(
    session: Session,
    *,
    made: Made,
    organization_id: int,
    lifetime: str | None = None,
    made_by: str = "",
) -> None:
    """Make a login that reads one organization's tree; without a lifetime it lasts until it is dropped.

    Raises:
        ReportLoginError: the owner's login may not create roles.
    """
    connection = _driver(session)
    try:
        _create(connection, made, lifetime)
    except postgres.InsufficientPrivilege:
        raise ReportLoginError(
            "A report on one organization gets a database login of its own: let the owner's login "
            "make it, with ALTER ROLE … CREATEROLE and GRANT keypool_analyst TO … WITH ADMIN OPTION."
        ) from None
    row = {"login": made.name, "organization_id": organization_id, "made_by": made_by}
    session.execute(REMEMBER, row | {"lasting": lifetime is None})


def _create(connection: psycopg.Connection, made: Made, lifetime: str | None) -> None:
    # Send only a hash, so that the server's statement log has no password.
    verifier = connection.pgconn.encrypt_password(
        made.password.encode(), made.name.encode(), b"scram-sha-256"
    ).decode()
    login, limit = sql.Identifier(made.name), sql.Literal(budget.REPORT)
    until = connection.execute(
        "SELECT coalesce((now() + CAST(%s AS interval))::text, 'infinity')", [lifetime]
    ).fetchall()[0][0]
    create = sql.SQL(CREATE)
    connection.execute(
        create.format(login=login, verifier=verifier, until=until, connections=limit)
    )
    for name, value in connections.READS.items():
        connection.execute(sql.SQL(SET).format(login=login, name=sql.Identifier(name), value=value))
    connection.execute(
        sql.SQL("GRANT keypool_analyst TO {} WITH INHERIT TRUE, SET FALSE").format(login)
    )


def _drop_abandoned(session: Session) -> None:
    for login in session.scalars(ABANDONED).all():
        drop(session, login=login)


def drop(session: Session, *, login: str) -> None:
    """Drop a login with everything that its notebook made; nothing if it is gone already."""
    if session.scalar(EXISTS, {"login": login}):
        connection = _driver(session)
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


def _driver(session: Session) -> psycopg.Connection:
    return cast(psycopg.Connection, session.connection().connection.driver_connection)


def _url(made: Made) -> str:
    # Where analysts read, which may be a standby; it is past a pooler, which knows no login that was
    # made a moment ago.
    read = Login.ANALYST if settings().analyst_database_url else Login.DIRECT
    address = make_url(connections.url(read)).set(username=made.name, password=made.password)
    return address.render_as_string(hide_password=False)


def known(made: Made) -> str:
    """Wait until a login is known where it reads, and give its URL: a standby hears of it a moment later.

    Raises:
        ReportLoginError: it is not known there, after a while.
    """
    url = _url(made)
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
