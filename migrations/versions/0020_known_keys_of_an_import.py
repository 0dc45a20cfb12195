"""Which keys are known is answered for a pool that the caller sees."""

from alembic import op

revision = "0020"
down_revision = "0019"
oldest_code = "0001"  # the function came with 0012, which no release has


def upgrade() -> None:
    op.execute("DROP FUNCTION known_keys(text[])")
    op.execute("""
CREATE FUNCTION known_keys(into_pool bigint, canonicals text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT canonical FROM key
     WHERE canonical = ANY (canonicals COLLATE "C")
       AND EXISTS (SELECT FROM pool
                    WHERE id = into_pool
                      AND (session_user <> 'keypool_web' OR sees_everything()
                           OR organization_id IN (SELECT visible_organization())))
$$;
REVOKE ALL ON FUNCTION known_keys(bigint, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION known_keys(bigint, text[]) TO keypool_web;
    """)
