"""A right password that is asked for again counts where one at the sign-in does, and its refusal is told so."""

from alembic import op

revision = "0051"
down_revision = "0050"
oldest_code = "0051"


def upgrade() -> None:
    """Have confirm_session judge as begin_session does, and say in the history how it ended."""
    op.execute("""
DROP FUNCTION confirm_session(bytea, text);

-- Note that the password of a session's user was asked for again; says whether its hash is the right one.
-- The history tells why not, as after begin_session: a right one is refused where the session is over or its
-- user signs in elsewhere.
CREATE FUNCTION confirm_session(session_hash bytea, known_hash text, from_client text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
    outcome text := 'sign-in failed';
BEGIN
    SELECT console_user.* INTO whose
      FROM console_session JOIN console_user ON console_user.id = user_id WHERE hash = session_hash;
    IF whose.password_hash = known_hash THEN
        UPDATE console_session SET confirmed_at = clock_now()
         WHERE hash = session_hash AND ended_at IS NULL
           AND whose.disabled_at IS NULL AND NOT signs_in_elsewhere(whose.organization_id);
        IF FOUND THEN
            RETURN true;
        END IF;
        outcome := 'sign-in refused';
    END IF;
    PERFORM remember_access(whose.email, outcome, from_client);
    RETURN false;
END
$$;

REVOKE ALL ON FUNCTION confirm_session(bytea, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION confirm_session(bytea, text, text) TO keypool_web;
    """)
