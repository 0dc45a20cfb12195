"""schema.sql and the database: apply it, and list the differences."""

from contextlib import suppress
from pathlib import Path
from typing import cast

import psycopg
from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from worker.database import migrating, patience, pooling, zones
from worker.database.catalog import Catalog, describe, differences
from worker.database.connections import READS
from worker.database.rules import SCHEMA
from worker.settings import settings

# If one of these is off, a crash can lose keys that were handed out or redeemed.
DURABILITY = ["fsync", "full_page_writes", "synchronous_commit"]


# The settings that a database lacks, for all logins or for one.
LACKING = """
    SELECT name FROM pg_database CROSS JOIN unnest(%s::text[]) AS name
     WHERE datname = %s AND NOT EXISTS (
         SELECT FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS entry
          WHERE setdatabase = pg_database.oid AND setrole = coalesce(%s::regrole::oid, 0)
            AND entry LIKE name || '=%%')
"""
# A login that lasts belongs to the server, and its row to the database: a dump has the one alone.
LOST_LOGINS = text("""
    SELECT login, organization.name AS organization FROM report_login
      JOIN organization ON organization.id = organization_id
     WHERE lasting AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login) ORDER BY login
""")


def init(engine: Engine) -> bool:
    """Apply schema.sql to an empty database, and close it; say whether it was empty.

    One that is keypool's already is only closed; a migration may still be due.

    Raises:
        SchemaOwnerError: the login does not own the database.
        ForeignDatabaseError: the database holds something else; nothing was changed.
    """
    with migrating.alone(engine) as turn, turn.connection.begin():
        connection = turn.connection
        is_empty = migrating.revision(connection) is None
        if is_empty:
            migrating.refuse_foreign(connection)
            run_file(connection, SCHEMA)
            migrating.stamp(connection)
        driver = cast(psycopg.Connection, connection.connection.driver_connection)
        close(driver, driver.info.dbname)
        if settings().pooler:
            pooling.set_defaults(driver, driver.info.dbname)
        return is_empty


def close(connection: psycopg.Connection, database: str) -> None:
    """Give a database what is neither in a dump nor in a copy, so that each needs it again.

    Nobody but its owner makes temporary tables and functions in it: they could stand in for ours. And its
    sessions notice a client whose network was cut (TCP keepalives), and those of analysts have a timeout and
    only read, except where somebody set that otherwise.
    """
    named = Identifier(database)
    connection.execute(SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(named))
    setting = SQL("ALTER DATABASE {} SET {} = {}")
    for name in _lacking(connection, database):
        connection.execute(setting.format(named, Identifier(name), patience.THEIRS[name]))
    with suppress(InsufficientPrivilege), connection.transaction():
        analysts = SQL("ALTER ROLE keypool_analyst IN DATABASE {} SET {} = {}")
        for name in _lacking(connection, database, login="keypool_analyst"):
            connection.execute(analysts.format(named, Identifier(name), READS[name]))


def check(engine: Engine) -> list[str]:
    """Give one sentence for each way in which the database differs from schema.sql or is not safe.

    An empty list means that all is well. Nothing is changed: schema.sql is applied beside the live
    tables, in a transaction that is rolled back.

    Raises:
        SchemaOwnerError: the login does not own the database.
        DatabaseTooNewError: the database was made by a newer version.
    """
    try:
        with engine.connect() as connection:
            if migrating.revision(connection) is None:
                return ["The database is not keypool's yet. Run “keypool db init”."]
            sentences = unsafe_settings(connection) + unsafe_logins(connection)
            if due := due_migrations(connection):
                return sentences + due  # until then it differs anyway
            sentences += temporary_rights(connection) + lost_logins(connection)
            live = describe(connection)
            unlike = differences(live, wanted=_as_schema_sql_says(connection))
            return sentences + (unlike or zones.differences(connection))
    except ProgrammingError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            raise migrating.SchemaOwnerError from error
        raise


def due_migrations(connection: Connection) -> list[str]:
    """Say in a sentence which migrations are due, and which code runs with the database after them."""
    due = [script.revision for script in migrating.pending(connection)]
    return [
        f"Migrations are due: {', '.join(due)}. Run “keypool db upgrade”; keypool of revision "
        f"{migrating.oldest_code(due[-1])} and newer runs with the database afterwards."
        for _ in due[:1]
    ]


def run_file(connection: Connection, path: Path) -> None:
    """Run a file of SQL in the connection's transaction."""
    # Without parameters the driver sends the file as it is, and a % is not a placeholder.
    connection.exec_driver_sql(path.read_text(), execution_options={"no_parameters": True})


# For one transaction, the live schemas are renamed and schema.sql is applied in their place. That
# needs no privilege to create databases and leaves nothing behind, however it ends. Nobody else
# sees the names change, or waits.
RENAME_LIVE_SCHEMAS = text("""
DO $$
DECLARE
    live name;
BEGIN
    FOR live IN SELECT nspname FROM pg_namespace WHERE nspname IN ('public', 'report') LOOP
        EXECUTE format('ALTER SCHEMA %I RENAME TO %I', live, 'keypool_live_' || live);
    END LOOP;
    CREATE SCHEMA public;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
END
$$
""")


def _as_schema_sql_says(connection: Connection) -> Catalog:
    try:
        connection.execute(RENAME_LIVE_SCHEMAS)
        run_file(connection, SCHEMA)
        return describe(connection)
    finally:
        connection.rollback()


def unsafe_settings(connection: Connection) -> list[str]:
    """Give one sentence for each setting that lets a crash lose committed data."""
    settings = connection.execute(
        text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names) AND setting = 'off'"),
        {"names": DURABILITY},
    )
    return [
        f"The database's setting {name} is {setting}: a crash can lose keys. Turn it on."
        for name, setting in settings
    ]


def unsafe_logins(connection: Connection) -> list[str]:
    """Give one sentence for each login that bypasses the separation of organizations."""
    # Roles belong to the whole server, so the description of a database does not have them.
    unsafe = connection.scalars(
        text("""
        SELECT DISTINCT inside.rolname FROM pg_roles AS inside
          LEFT JOIN pg_auth_members ON member = inside.oid AND NOT admin_option
         WHERE (inside.rolname IN ('keypool_web', 'keypool_analyst')
                OR pg_get_userbyid(roleid) IN ('keypool_web', 'keypool_analyst'))
           AND (inside.rolbypassrls OR pg_has_role(inside.oid, current_user, 'MEMBER'))
         ORDER BY 1
        """)
    )
    return [
        f"The login {name} passes through the walls between organizations: it is a superuser, "
        "bypasses row level security or is a member of the owner's role."
        for name in unsafe
    ]


def temporary_rights(connection: Connection) -> list[str]:
    """Give one sentence for each login that may make temporary tables: the database is not closed."""
    logins = connection.scalars(
        text("""
        SELECT login FROM unnest(ARRAY['keypool_web', 'keypool_analyst']) AS login
         WHERE has_database_privilege(login, current_database(), 'TEMPORARY')
        """)
    )
    return [
        f"The login {login} may make temporary tables, as after restoring a dump. Run “keypool db init”."
        for login in logins
    ]


def lost_logins(connection: Connection) -> list[str]:
    """Give one sentence for each lasting login of reports that the server does not have."""
    return [
        f"The login {row.login}, which reads reports of “{row.organization}”, is not on this server, as after "
        f"restoring a dump. Run “keypool reports end {row.login}”, and make another."
        for row in connection.execute(LOST_LOGINS)
    ]


def loose_rights(connection: Connection) -> list[str]:
    """Give one sentence for each right that only the server's superuser can take from a login."""
    rights = connection.execute(
        text("""
        SELECT login, EXISTS (SELECT FROM pg_proc
                               WHERE proname ~ '^(pg_(try_)?advisory_|lo_|loread|lowrite)'
                                 AND has_function_privilege(login, oid, 'EXECUTE')) AS calls,
               EXISTS (SELECT FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS entry
                        WHERE setrole = login::regrole AND entry <> ALL (:ours)) AS sets
          FROM unnest(ARRAY['keypool_web', 'keypool_analyst']) AS login
        """),
        {"ours": [f"{name}={value}" for name, value in READS.items()]},
    )
    return [
        sentence
        for login, calls, sets in rights
        for is_so, sentence in (
            (calls, f"The login {login} may keep large objects or take advisory locks: see "
             "“On servers of your own” in docs/operations.md."),
            (sets, f"The login {login} has settings of its own; if they are not yours, "
             f"ALTER ROLE {login} RESET ALL."),
        ) if is_so
    ]  # fmt: skip


def lacking_keepalives(connection: Connection) -> list[str]:
    """Say in a sentence that sessions do not notice a client whose network was cut."""
    driver = cast(psycopg.Connection, connection.connection.driver_connection)
    # Asked of the database: what a pooler calls it may be another name.
    lacking = _lacking(driver, str(connection.scalar(text("SELECT current_database()"))))
    if not lacking:
        return []
    return [
        f"The database does not set {', '.join(lacking)}: a worker whose network is cut keeps its locks "
        "for long. Run “keypool db init”, as the database's owner."
    ]


def lacking_timeouts(connection: Connection) -> list[str]:
    """Say in a sentence that sessions of analysts begin without a timeout, or may write."""
    driver = cast(psycopg.Connection, connection.connection.driver_connection)
    database = str(connection.scalar(text("SELECT current_database()")))
    lacking = _lacking(driver, database, login="keypool_analyst")
    if not lacking:
        return []
    return [
        f"The database does not set {', '.join(lacking)} for keypool_analyst: an analyst's query may run for "
        "ever. Run “keypool db init”, as the database's owner, who needs CREATEROLE and the admin option on it."
    ]


def _lacking(
    connection: psycopg.Connection, database: str, *, login: str | None = None
) -> list[str]:
    names = list(READS if login else patience.THEIRS)
    return [name for (name,) in connection.execute(LACKING, [names, database, login])]
