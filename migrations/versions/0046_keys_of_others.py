"""Imports count which keys of others they find."""

from alembic import op

revision = "0046"
down_revision = "0045"
oldest_code = "0037"


def upgrade() -> None:
    op.execute("""
    CREATE FUNCTION count_keys_of_others(into_pool bigint, canonicals text[]) RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT count(*) FROM key JOIN pool ON pool.id = key.pool_id
         WHERE canonical = ANY (canonicals COLLATE "C")
           AND NOT EXISTS (SELECT FROM pool AS own
                             JOIN organization_ancestry ON ancestor_id = own.organization_id
                            WHERE own.id = into_pool AND descendant_id = pool.organization_id)
           AND EXISTS (SELECT FROM pool AS own
                        WHERE own.id = into_pool
                          AND (session_user <> 'keypool_web' OR sees_everything()
                               OR organization_id IN (SELECT visible_organization())))
    $$;
    REVOKE ALL ON FUNCTION count_keys_of_others(bigint, text[]) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION count_keys_of_others(bigint, text[]) TO keypool_web;
    """)
