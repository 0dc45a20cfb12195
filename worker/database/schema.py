"""schema.sql and the database: make one, migrate it, and say where the two differ."""

import textwrap
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from worker import errors
from worker.database import zones

HOUSE = Path(__file__).parents[2]
SCHEMA = HOUSE / "schema.sql"
MIGRATIONS = HOUSE / "migrations"

# Without any of these a crash can lose keys that were handed out or redeemed.
DURABILITY = ["fsync", "full_page_writes", "synchronous_commit"]

Catalog = dict[tuple[str, str], str]


class ForeignDatabaseError(errors.RefusedError):
    """The database is not empty and not keypool's; give keypool an empty one of its own."""


class UnknownRevisionError(errors.RefusedError):
    """The database was made by a newer keypool; use that version or a later one."""


class SchemaOwnerError(errors.RefusedError):
    """Only the database's owner can compare it with schema.sql; log in as its owner."""


def init(engine: Engine) -> bool:
    """Apply schema.sql to an empty database; say whether that was needed.

    False: the database is keypool's already, though a migration may be due.

    Raises:
        ForeignDatabaseError: the database holds something else; nothing was changed.
    """
    with engine.begin() as connection:
        _one_at_a_time(connection)
        if revision(connection):
            return False
        if describe(connection, kinds=OCCUPANTS):
            raise ForeignDatabaseError
        run_file(connection, SCHEMA)
        command.stamp(_alembic(connection), "head")
        return True


def upgrade(engine: Engine) -> list[str]:
    """Apply the migrations that the database has not had yet; give their revisions, in order.

    All of them or none: they share one transaction.

    Raises:
        ForeignDatabaseError: the database holds something else; nothing was changed.
        UnknownRevisionError: the database was made by a newer version.
    """
    with engine.begin() as connection:
        _one_at_a_time(connection)
        due = pending(connection)
        if revision(connection) is None and describe(connection, kinds=OCCUPANTS):
            raise ForeignDatabaseError
        if due:
            command.upgrade(_alembic(connection), "head")
        return due


def check(engine: Engine) -> list[str]:
    """Say in a sentence each where the database is not what schema.sql says, or is not safe.

    An empty list: all is well. Nothing is changed: schema.sql is applied beside the live tables,
    in a transaction that is rolled back.

    Raises:
        SchemaOwnerError: the login does not own the database.
        UnknownRevisionError: the database was made by a newer version.
    """
    try:
        with engine.connect() as connection:
            if revision(connection) is None:
                return ["The database is not keypool's yet. Run “keypool db init”."]
            found = unsafe_settings(connection) + unsafe_logins(connection)
            if due := pending(connection):
                found.append(f"Migrations are due: {', '.join(due)}. Run “keypool db upgrade”.")
            live = describe(connection)
            unlike = differences(live, wanted=_as_schema_sql_says(connection))
            return found + (unlike or zones.differences(connection))
    except ProgrammingError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            raise SchemaOwnerError from error
        raise


def revision(connection: Connection) -> str | None:
    """Give the last migration that the database has had, or None for a database not keypool's."""
    return MigrationContext.configure(connection).get_current_revision()


def pending(connection: Connection) -> list[str]:
    """Give the migrations that the database has not had yet, in the order they will be applied.

    Raises:
        UnknownRevisionError: the database was made by a newer version.
    """
    scripts = ScriptDirectory.from_config(_alembic(connection))
    try:
        due = list(scripts.iterate_revisions("head", revision(connection) or "base"))
    except (CommandError, RevisionError):
        raise UnknownRevisionError from None
    return [script.revision for script in reversed(due)]


def run_file(connection: Connection, path: Path) -> None:
    """Run a file of SQL in the connection's transaction."""
    # Without parameters the driver sends it all at once and takes no % for a placeholder.
    connection.exec_driver_sql(path.read_text(), execution_options={"no_parameters": True})


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _one_at_a_time(connection: Connection) -> None:
    connection.execute(text("SET LOCAL search_path = public"))
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('keypool.schema'))"))


# Comparing --------------------------------------------------------------------------------------

# One row a thing in the schemas public and report: its kind, its name, and all that defines it.
# Whatever an extension brought is left out, and so is alembic's own table.
CATALOG = text("""
WITH namespace AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname IN ('public', 'report')
), extension_object AS (
    SELECT objid FROM pg_depend WHERE deptype = 'e'
), relation AS (
    SELECT pg_class.*, pg_class.oid::regclass::text AS name,
           CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence'
                        WHEN 'm' THEN 'materialized view' WHEN 'p' THEN 'partitioned table'
                        WHEN 'f' THEN 'foreign table' END AS kind
      FROM pg_class JOIN namespace ON namespace.oid = relnamespace
     WHERE relkind IN ('r', 'v', 'S', 'm', 'p', 'f') AND relname <> 'alembic_version'
       AND pg_class.oid NOT IN (SELECT objid FROM extension_object)
       AND NOT (relkind = 'S' AND EXISTS (  -- an identity column says all about its sequence
           SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'i'))
), attribute AS (
    SELECT pg_attribute.*, name || '.' || quote_ident(attname) AS name
      FROM pg_attribute JOIN relation ON relation.oid = attrelid
     WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'v'
), routine AS (
    SELECT pg_proc.*, pg_proc.oid::regprocedure::text AS name
      FROM pg_proc JOIN namespace ON namespace.oid = pronamespace
     WHERE prokind IN ('f', 'p') AND pg_proc.oid NOT IN (SELECT objid FROM extension_object)
), label AS (
    SELECT pg_type.*, pg_type.oid::regtype::text AS name
      FROM pg_type JOIN namespace ON namespace.oid = typnamespace
     WHERE typtype IN ('e', 'd') AND pg_type.oid NOT IN (SELECT objid FROM extension_object)
), grantable AS (
    SELECT 'schema ' || nspname AS name, nspacl AS acl, nspowner AS owner FROM namespace
    UNION ALL SELECT 'type ' || name, coalesce(typacl, acldefault('T', typowner)), typowner
                FROM label
    UNION ALL SELECT 'function ' || name, coalesce(proacl, acldefault('f', proowner)), proowner
                FROM routine
    UNION ALL SELECT kind || ' ' || name, relacl, relowner FROM relation
    UNION ALL SELECT 'column ' || attribute.name, attacl, relowner
                FROM attribute JOIN relation ON relation.oid = attrelid
)
SELECT kind, name,
       concat_ws(' ', 'owned by ' || pg_get_userbyid(relowner),
                 CASE relpersistence WHEN 'u' THEN 'unlogged' END, 'with ' || reloptions::text,
                 'as' || pg_get_viewdef(oid)) AS definition
  FROM relation
UNION ALL
SELECT 'column', name,
       concat_ws(' ', format_type(atttypid, atttypmod),
                 (SELECT 'COLLATE ' || quote_ident(collname) FROM pg_collation
                   WHERE oid = attcollation AND collname <> 'default'),
                 CASE WHEN attnotnull THEN 'NOT NULL' END,
                 CASE attidentity WHEN 'a' THEN 'IDENTITY ALWAYS' WHEN 'd' THEN 'IDENTITY' END,
                 CASE attgenerated WHEN '' THEN 'DEFAULT ' WHEN 's' THEN 'GENERATED, STORED '
                                   ELSE 'GENERATED, VIRTUAL ' END || pg_get_expr(adbin, adrelid))
  FROM attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
UNION ALL
SELECT 'constraint', format('%I on %s', conname, name),
       pg_get_constraintdef(pg_constraint.oid)
  FROM pg_constraint JOIN relation ON relation.oid = conrelid
 WHERE contype NOT IN ('n', 't')  -- columns say NOT NULL, and triggers themselves
UNION ALL
SELECT 'index', format('%I on %s', relname, name),
       pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' (invalid)' END
  FROM pg_index JOIN (SELECT oid, name FROM relation) AS indexed ON indexed.oid = indrelid
       JOIN pg_class ON pg_class.oid = indexrelid
 WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
UNION ALL
SELECT 'trigger', format('%I on %s', tgname, name),
       pg_get_triggerdef(pg_trigger.oid) || CASE tgenabled WHEN 'O' THEN '' ELSE ' (disabled)' END
  FROM pg_trigger JOIN relation ON relation.oid = tgrelid
 WHERE NOT tgisinternal OR tgenabled <> 'O'  -- a foreign key's triggers can be switched off
UNION ALL
SELECT 'rule', format('%I on %s', rulename, name), pg_get_ruledef(pg_rewrite.oid)
  FROM pg_rewrite JOIN relation ON relation.oid = ev_class
 WHERE rulename <> '_RETURN'
UNION ALL
SELECT 'policy', format('%I on %s', polname, name),
       concat_ws(' ', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END, polcmd,
                 'to', (SELECT string_agg(CASE role WHEN 0 THEN 'everybody'
                                          ELSE pg_get_userbyid(role) END, ', ' ORDER BY role)
                          FROM unnest(polroles) AS role),
                 'using ' || pg_get_expr(polqual, polrelid),
                 'with check ' || pg_get_expr(polwithcheck, polrelid))
  FROM pg_policy JOIN relation ON relation.oid = polrelid
UNION ALL
SELECT 'row level security', 'on ' || name,
       CASE WHEN relforcerowsecurity THEN 'forced' ELSE 'enabled' END
  FROM relation WHERE relrowsecurity
UNION ALL
SELECT 'function', name,
       pg_get_functiondef(oid) || ' owned by ' || pg_get_userbyid(proowner)
  FROM routine
UNION ALL
SELECT 'type', name,
       coalesce((SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
                   FROM pg_enum WHERE enumtypid = label.oid),
                format_type(typbasetype, typtypmod))
  FROM label
UNION ALL
SELECT 'grant', format('on %s to %s', name,
                       CASE grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(grantee) END),
       string_agg(privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END,
                  ', ' ORDER BY privilege_type)
  FROM grantable CROSS JOIN LATERAL aclexplode(acl)
 WHERE grantee <> owner AND grantee <> 'pg_database_owner'::regrole
 GROUP BY name, grantee
""")

# What tells that somebody lives in a database already.
OCCUPANTS = frozenset({"table", "partitioned table", "foreign table", "view", "type"})


def describe(connection: Connection, *, kinds: frozenset[str] | None = None) -> Catalog:
    """Describe what the schemas public and report hold: `{(kind, name): definition}`.

    Two databases that describe alike behave alike; the order of columns is left aside, since a
    migration can only append.
    """
    # Names in definitions come out the same in whichever database and whoever asks.
    connection.execute(text("SET LOCAL search_path = public"))
    return {
        (kind, name): " ".join(definition.split())
        for kind, name, definition in connection.execute(CATALOG)
        if kinds is None or kind in kinds
    }


def differences(live: Catalog, *, wanted: Catalog) -> list[str]:
    """Say in a line each where a database is not as wanted."""
    return [
        _difference(f"{kind} {name}", live.get((kind, name)), wanted.get((kind, name)))
        for kind, name in sorted(live.keys() | wanted.keys())
        if live.get((kind, name)) != wanted.get((kind, name))
    ]


def _difference(thing: str, live: str | None, wanted: str | None) -> str:
    if live is None:
        return f"{thing} is missing."
    if wanted is None:
        return f"{thing} is not in schema.sql."
    return f"{thing} differs: it has “{_part(live, wanted)}” and not “{_part(wanted, live)}”."


def _part(definition: str, other: str) -> str:
    # Long definitions are shown from the first word in which they differ.
    words, others = definition.split(), other.split()
    alike = next((i for i, (a, b) in enumerate(zip(words, others, strict=False)) if a != b), 0)
    start = 0 if len(definition) <= 120 else max(alike - 3, 0)
    return textwrap.shorten(" ".join(words[start:]), 120, placeholder=" …")


# For one transaction, schema.sql is applied in the place of the live schemas, which make room.
# That asks for no right to create databases and leaves nothing behind, however it ends; nobody
# else sees the names change, or waits.
MAKE_ROOM = text("""
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
        connection.execute(MAKE_ROOM)
        run_file(connection, SCHEMA)
        return describe(connection)
    finally:
        connection.rollback()


def unsafe_settings(connection: Connection) -> list[str]:
    """Say in a sentence each which settings let a crash lose what was committed."""
    settings = connection.execute(
        text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names) AND setting = 'off'"),
        {"names": DURABILITY},
    )
    return [
        f"The database's setting {name} is {setting}: a crash can lose keys. Turn it on."
        for name, setting in settings
    ]


def unsafe_logins(connection: Connection) -> list[str]:
    """Say in a sentence each which login no wall between organizations holds."""
    # Roles belong to the whole server, so describing one database cannot tell of them.
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
