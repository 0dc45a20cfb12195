"""Whoever passes the second factor in a session knows that session, and does not only see it."""

from alembic import op

revision = "0050"
down_revision = "0049"
oldest_code = "0050"


def upgrade() -> None:
    """Set when a second factor was given by functions alone."""
    op.execute("""
-- Note that the second factor of a session's user was given in it.
CREATE FUNCTION pass_second_factor(session_hash bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE console_session SET second_factor_at = clock_now() WHERE hash = session_hash
$$;

-- What was given in a user's sessions counts no more, once their second factor is removed.
CREATE FUNCTION ask_for_second_factor_again() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE console_session SET second_factor_at = NULL WHERE user_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER removed_second_factor_counts_nowhere AFTER UPDATE OF totp_encrypted ON console_user
    FOR EACH ROW WHEN (NEW.totp_encrypted IS NULL) EXECUTE FUNCTION ask_for_second_factor_again();

REVOKE UPDATE (second_factor_at) ON console_session FROM keypool_web;
REVOKE ALL ON FUNCTION pass_second_factor(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pass_second_factor(bytea) TO keypool_web;
    """)
