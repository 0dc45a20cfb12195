"""Behind a pooler in transaction mode: what each login's sessions begin with, kept by the database.

A pooler's server connection serves many clients, one transaction each, so no client can give it startup
options. PostgreSQL reads a login's defaults when the pooler opens such a connection.
"""

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from worker.database.connections import Login, defaults

ROLES = {Login.WEB: Identifier("keypool_web"), Login.OWNER: SQL("CURRENT_USER")}

SET = SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}")


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
