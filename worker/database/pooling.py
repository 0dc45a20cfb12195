"""Behind a pooler in transaction mode: what each login's sessions begin with, kept by the database.

A pooler's server connection serves many clients, one transaction each, so no client can give it startup
options. PostgreSQL reads a login's defaults when the pooler opens such a connection.
"""

import psycopg
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Connection, text

from worker.database.connections import Login, defaults
from worker.settings import settings

ROLES = {Login.WEB: Identifier("keypool_web"), Login.OWNER: SQL("CURRENT_USER")}

SET = SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}")
KEPT = text("""
    SELECT lower(unnest(setconfig))
      FROM pg_db_role_setting
      JOIN pg_database ON pg_database.oid = setdatabase AND datname = current_database()
      JOIN pg_roles ON pg_roles.oid = setrole
     WHERE rolname = CASE WHEN :is_owner THEN current_user ELSE 'keypool_web' END
""")


def set_defaults(connection: psycopg.Connection, database: str) -> None:
    """Have a database give its pooled logins what other connections ask for by options.

    Such defaults are neither in a dump nor in a copy. A pooler's open connections keep the old ones until it
    opens them anew (RECONNECT in PgBouncer).
    """
    for login, role in ROLES.items():
        for name, value in defaults(login).items():
            connection.execute(
                SET.format(role, Identifier(database), Identifier(name), Literal(value))
            )


def lacking_defaults(connection: Connection) -> list[str]:
    """Say in a sentence that behind a pooler the database does not give its logins their defaults."""
    if not settings().pooler or all(_has_defaults(connection, login) for login in ROLES):
        return []
    return [
        "Behind the pooler, sessions begin without our timeouts, as after restoring a dump. Run "
        "“keypool db init”, as the database's owner."
    ]


def _has_defaults(connection: Connection, login: Login) -> bool:
    kept = set(connection.scalars(KEPT, {"is_owner": login is Login.OWNER}))
    return kept >= {f"{name}={value}".lower() for name, value in defaults(login).items()}
