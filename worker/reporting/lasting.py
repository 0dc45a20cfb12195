"""Lasting database logins for one organization: for Metabase, Superset, Power BI and the like.

Each reads schema "report" of its organization and the descendants, by `session_user`, as a report's login does.
"""

from datetime import datetime

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import RowMapping, make_url, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import connections
from worker.reporting import logins
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor

POSTGRESQL = 5432  # its usual port


class LoginShape(TypedDict):
    """A lasting database login of one organization."""

    login: str
    """Its name in PostgreSQL."""
    organization: str
    """The organization that it reads, with its descendants."""
    created_at: datetime
    """When it was made."""
    made_by: str
    """Who made it."""
    sessions: int
    """How many sessions it has now."""


class LoginInClear(LoginShape):
    """A new login: what a client is told, only now."""

    host: str
    """The database's host, or the folder of its socket on this machine."""
    port: int
    """Its port."""
    database: str
    """The database's name."""
    password: str
    """The password, shown only now."""
    url: str
    """All of it as one URL, the password too."""


LASTING = """
    SELECT report_login.login, organization.name AS organization, report_login.organization_id,
           report_login.created_at, report_login.made_by,
           (SELECT count(*) FROM pg_stat_activity WHERE usename = report_login.login) AS sessions
      FROM report_login JOIN organization ON organization.id = organization_id
     WHERE lasting"""
ALL = text(f"{LASTING} ORDER BY report_login.created_at, login")
ONE = text(f"{LASTING} AND login = :login")


def add(*, actor: Actor, organization: str) -> LoginInClear:
    """Make a login that reads an organization and its descendants; its password is given only now.

    It is made in a transaction of its own, so that the place where analysts read knows it when this returns.

    Raises:
        NotFoundError: there is no such organization.
        ReportLoginError: the owner's login may not create roles.
    """
    made = logins.new()
    shown = connections.transaction(_add, actor=actor, organization=organization, made=made)
    address = make_url(logins.known(made)).set(drivername="postgresql")
    url = address.render_as_string(hide_password=False)
    known = conninfo_to_dict(url)
    return {
        **shown,
        "host": str(known["host"]),
        "port": int(known.get("port") or POSTGRESQL),
        "database": str(known["dbname"]),
        "password": made.password,
        "url": url,
    }


def listing(session: Session, *, actor: Actor) -> list[LoginShape]:
    """List the lasting logins, oldest first; never a password."""
    actor.require()
    return [_shape(row) for row in session.execute(ALL).mappings()]


def end(session: Session, *, actor: Actor, login: str) -> LoginShape:
    """End a login and its sessions, at once.

    Raises:
        NotFoundError: there is no such login.
    """
    actor.require()
    row = session.execute(ONE, {"login": login}).mappings().one_or_none()
    if row is None:
        raise errors.NotFoundError(
            f"There is no login “{login}”; “keypool reports logins” lists them."
        )
    logins.drop(session, login=login)
    _record(session, actor, "report login ended", row["organization_id"], login)
    return _shape(row)


def _add(session: Session, *, actor: Actor, organization: str, made: logins.Made) -> LoginShape:
    actor.require()
    owner = organizations.find(session, actor=actor, name=organization)
    logins.make(session, made=made, organization_id=owner.id, made_by=actor.name)
    _record(session, actor, "report login made", owner.id, made.name)
    return _shape(session.execute(ONE, {"login": made.name}).mappings().one())


def _record(session: Session, actor: Actor, action: str, organization_id: int, login: str) -> None:
    history.record(
        session,
        actor=actor,
        action=action,
        thing="organization",
        thing_ids=organization_id,
        organization_id=organization_id,
        login=login,
    )


def _shape(row: RowMapping) -> LoginShape:
    return {
        "login": row["login"],
        "organization": row["organization"],
        "created_at": row["created_at"],
        "made_by": row["made_by"],
        "sessions": row["sessions"],
    }
