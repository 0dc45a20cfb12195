"""Describing a database for comparison: every table, constraint, index, privilege and comment."""

import textwrap

from sqlalchemy import Connection, text

Catalog = dict[tuple[str, str], str]

# One row per object in the schemas public and report: kind, name, definition. Objects of extensions
# and alembic's own table are left out.
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
), commented AS (
    SELECT 'pg_class'::regclass AS class, pg_class.oid
      FROM pg_class JOIN namespace ON namespace.oid = relnamespace
     WHERE relname <> 'alembic_version' AND pg_class.oid NOT IN (SELECT objid FROM extension_object)
    UNION ALL SELECT 'pg_constraint'::regclass, pg_constraint.oid
                FROM pg_constraint JOIN relation ON relation.oid = conrelid
    UNION ALL SELECT 'pg_trigger'::regclass, pg_trigger.oid
                FROM pg_trigger JOIN relation ON relation.oid = tgrelid
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM routine
    UNION ALL SELECT 'pg_type'::regclass, oid FROM label
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
SELECT 'comment', format('on %s %s', thing.type, thing.identity), description
  FROM pg_description JOIN commented ON (class, oid) = (classoid, objoid)
 CROSS JOIN LATERAL pg_identify_object(classoid, objoid, objsubid) AS thing
UNION ALL
SELECT 'grant', format('on %s to %s', name,
                       CASE grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(grantee) END),
       string_agg(privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END,
                  ', ' ORDER BY privilege_type)
  FROM grantable CROSS JOIN LATERAL aclexplode(acl)
 WHERE grantee <> owner AND grantee <> 'pg_database_owner'::regrole
 GROUP BY name, grantee
""")

# Whether a database has any objects.
OCCUPANTS = frozenset({"table", "partitioned table", "foreign table", "view", "type"})


def describe(connection: Connection, *, kinds: frozenset[str] | None = None) -> Catalog:
    """Describe the objects in the schemas public and report: `{(kind, name): definition}`.

    Two databases with the same description behave alike. The order of columns is not compared,
    because a migration can only append columns.
    """
    # Makes the names in definitions the same in any database and for any login.
    connection.execute(text("SET LOCAL search_path = public"))
    return {
        (kind, name): " ".join(definition.split())
        for kind, name, definition in connection.execute(CATALOG)
        if kinds is None or kind in kinds
    }


def differences(live: Catalog, *, wanted: Catalog) -> list[str]:
    """Give one line for each difference between a database and the wanted one."""
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
    # Of long definitions, show the part from the first difference on.
    words, others = definition.split(), other.split()
    alike = next((i for i, (a, b) in enumerate(zip(words, others, strict=False)) if a != b), 0)
    start = 0 if len(definition) <= 120 else max(alike - 3, 0)
    return textwrap.shorten(" ".join(words[start:]), 120, placeholder=" …")
