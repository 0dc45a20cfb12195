"""The sessions of redeem pages are part of what is kept on a person."""

from alembic import op

revision = "0041"
down_revision = "0040"
oldest_code = "0037"


def upgrade() -> None:
    op.execute("""
    -- The sessions of a person, for the export of all that is kept on them: those in the caller's sight.
    CREATE FUNCTION page_sessions_of(addresses text[])
    RETURNS TABLE (organization text, began_at timestamptz, proved_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT organization.name, page_session.began_at, page_session.proved_at
          FROM page_session LEFT JOIN organization ON organization.id = page_session.organization_id
         WHERE page_session.email_lower = ANY (addresses)
           AND (session_user <> 'keypool_web' OR sees_everything()
                OR page_session.organization_id IN (SELECT visible_organization()))
         ORDER BY page_session.id
    $$;
    REVOKE ALL ON FUNCTION page_sessions_of(text[]) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION page_sessions_of(text[]) TO keypool_web;
    """)
