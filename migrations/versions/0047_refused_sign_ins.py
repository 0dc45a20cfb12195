"""The history tells a refused sign-in from a failed one."""

from alembic import op

revision = "0047"
down_revision = "0046"
oldest_code = "0047"  # older code says itself how a sign-in ended


def upgrade() -> None:
    """Have begin_session say in the history how it ended."""
    op.execute(r"""
    CREATE OR REPLACE FUNCTION password_salt(address text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT regexp_replace(password_hash, '[^$]*$', '') FROM console_user
         WHERE lower(email) = lower(address)
    $$;

    CREATE OR REPLACE FUNCTION begin_session(
        address text, known_hash text, session_hash bytea, device_hash bytea, from_client text, in_browser text,
        lasting interval
    ) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        whose console_user;
        outcome text := 'signed in';
    BEGIN
        SELECT * INTO whose FROM console_user WHERE lower(email) = lower(address);
        IF (whose.password_hash = known_hash) IS NOT TRUE THEN
            outcome := 'sign-in failed';
        ELSIF whose.disabled_at IS NOT NULL OR signs_in_elsewhere(whose.organization_id) THEN
            outcome := 'sign-in refused';
        ELSE
            INSERT INTO console_session (user_id, hash, device, client, browser, ends_at)
            VALUES (whose.id, session_hash, device_hash, from_client, in_browser, clock_now() + lasting);
        END IF;
        PERFORM remember_access(address, outcome, from_client);
        RETURN outcome = 'signed in';
    END
    $$;
    """)
