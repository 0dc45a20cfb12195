"""The history says what a password that was asked for again was for."""

from alembic import op

revision = "0060"
down_revision = "0059"
oldest_code = "0060"


def upgrade() -> None:
    """Say in the history for what a confirmation failed."""
    op.execute("DROP FUNCTION confirm_session(bytea, text, text, bytea)")
    op.execute("""
CREATE FUNCTION confirm_session(
    session_hash bytea, known_hash text, from_client text, what_for text, proofs bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
    outcome text := 'confirmation failed';
BEGIN
    PERFORM require_proof(proofs, 'confirm', encode(session_hash, 'hex'), known_hash);
    SELECT console_user.* INTO whose
      FROM console_session JOIN console_user ON console_user.id = user_id WHERE hash = session_hash;
    IF whose.password_hash = known_hash THEN
        UPDATE console_session SET confirmed_at = clock_now()
         WHERE hash = session_hash AND ended_at IS NULL
           AND whose.disabled_at IS NULL AND NOT signs_in_elsewhere(whose.organization_id);
        IF FOUND THEN
            RETURN true;
        END IF;
        outcome := 'confirmation refused';
    END IF;
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'user ' || whose.email, whose.organization_id, outcome, 'user', whose.id,
           jsonb_build_object('client', from_client, 'for', what_for)
     WHERE whose.id IS NOT NULL;
    RETURN false;
END
$$;
    """)
    op.execute("REVOKE ALL ON FUNCTION confirm_session(bytea, text, text, text, bytea) FROM PUBLIC")
    op.execute(
        "GRANT EXECUTE ON FUNCTION confirm_session(bytea, text, text, text, bytea) TO keypool_web"
    )
