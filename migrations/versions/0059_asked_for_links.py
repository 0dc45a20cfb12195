"""Users ask for the link that chooses another password themselves."""

from alembic import op

revision = "0059"
down_revision = "0058"
oldest_code = "0056"


def upgrade() -> None:
    """Mail a link to whoever asks for it, and know it in the history."""
    op.execute("""
CREATE OR REPLACE FUNCTION remember_access(address text, what text, from_client text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'user ' || email, organization_id, what, 'user', id, jsonb_build_object('client', from_client)
      FROM console_user
     WHERE lower(email) = lower(address)
       AND what IN ('signed in', 'sign-in failed', 'sign-in locked', 'sign-in refused',
                    'password link asked for', 'password link refused')
       AND (what NOT IN ('sign-in locked', 'password link asked for', 'password link refused')
            OR NOT EXISTS (SELECT FROM history AS before
                            WHERE before.thing = 'user' AND before.thing_id = console_user.id
                              AND before.action = what AND before.detail ->> 'client' = from_client
                              AND before.at > clock_now() - interval '15 minutes'))
$$;

CREATE FUNCTION mail_sign_in_link(address text, from_client text, lasting_days int, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
BEGIN
    PERFORM require_proof(proofs, 'mail link', address, from_client);  -- the web has counted who asks
    -- Of two at once, one waits and finds the other's mail.
    SELECT * INTO whose FROM console_user WHERE lower(email) = lower(address) FOR NO KEY UPDATE;
    IF whose.disabled_at IS NOT NULL OR signs_in_elsewhere(whose.organization_id) THEN
        PERFORM remember_access(address, 'password link refused', from_client);
        RETURN;
    END IF;
    INSERT INTO message (organization_id, kind, recipient, data)
    SELECT whose.organization_id, 'reset', whose.email,
           jsonb_build_object('user', whose.id, 'days', lasting_days)
      FROM (SELECT count(*) AS today, max(happened_at) AS last_at FROM message
             WHERE kind = 'reset' AND recipient_lower = lower(whose.email)
               AND happened_at > clock_now() - interval '1 day') AS before
     WHERE whose.id IS NOT NULL
       AND today < 5 AND (last_at IS NULL OR last_at <= clock_now() - interval '15 minutes');
    PERFORM remember_access(address, 'password link asked for', from_client);
END
$$;
    """)
    op.execute("REVOKE ALL ON FUNCTION mail_sign_in_link(text, text, int, bytea) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION mail_sign_in_link(text, text, int, bytea) TO keypool_web")
