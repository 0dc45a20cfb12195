"""The web's login reads no sealed second factor and no recovery code, and enters as nobody who lacks theirs.

Older code reads and writes them, and is stopped for this migration.
"""

from alembic import op

revision = "0058"
down_revision = "0057"
oldest_code = "0058"


def upgrade() -> None:
    """Have functions read and set second factors, and take the rights on their columns from the web."""
    op.execute("""
    ALTER TABLE console_user ADD COLUMN has_second_factor boolean NOT NULL
        GENERATED ALWAYS AS (totp_encrypted IS NOT NULL) STORED;
    DROP FUNCTION pass_second_factor(bytea);

    REVOKE SELECT (totp_encrypted, totp_step) ON console_user FROM keypool_web;
    REVOKE SELECT ON recovery_code FROM keypool_web;
    REVOKE UPDATE ON token, console_user FROM keypool_web;
    GRANT SELECT (has_second_factor) ON console_user TO keypool_web;
    GRANT SELECT (id, user_id, ended_at) ON recovery_code TO keypool_web;
    GRANT UPDATE (revoked_at) ON token TO keypool_web;
    GRANT UPDATE (password_hash, disabled_at) ON console_user TO keypool_web;
    """)
    op.execute(FUNCTIONS)


FUNCTIONS = """
CREATE FUNCTION end_session(session_hash bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH ended AS (
        UPDATE console_session SET ended_at = clock_now() WHERE hash = session_hash AND ended_at IS NULL
        RETURNING user_id, client)
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'user ' || email, organization_id, 'signed out', 'user', id, jsonb_build_object('client', client)
      FROM ended JOIN console_user ON id = user_id
$$;

CREATE FUNCTION sealed_second_factor(session_hash bytea) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT totp_encrypted FROM console_session JOIN console_user ON console_user.id = user_id
     WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL AND clock_now() < ends_at
$$;

CREATE FUNCTION set_up_second_factor(session_hash bytea, sealed bytea, step bigint, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'set up', encode(session_hash, 'hex'), encode(sealed, 'hex'), step::text);
    UPDATE console_user SET totp_encrypted = sealed, totp_step = step FROM console_session
     WHERE console_user.id = user_id AND hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
       AND (second_factor_at IS NOT NULL OR NOT has_second_factor);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE console_session SET second_factor_at = clock_now() WHERE hash = session_hash;
    RETURN true;
END
$$;

CREATE FUNCTION give_second_factor(session_hash bytea, step bigint, code_hash bytea, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose   console_user;
    outcome text := 'failed';
BEGIN
    PERFORM require_proof(proofs, 'second factor', encode(session_hash, 'hex'), step::text, encode(code_hash, 'hex'));
    SELECT console_user.* INTO whose
      FROM console_session JOIN console_user ON console_user.id = user_id
     WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL AND has_second_factor
       FOR NO KEY UPDATE OF console_user;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF whose.totp_step < step THEN
        UPDATE console_user SET totp_step = step WHERE id = whose.id;
        outcome := 'given';
    ELSE
        UPDATE recovery_code SET ended_at = clock_now()
         WHERE user_id = whose.id AND hash = code_hash AND ended_at IS NULL;
        outcome := CASE WHEN FOUND THEN 'replaced by a recovery code' ELSE outcome END;
    END IF;
    IF outcome <> 'failed' THEN
        UPDATE console_session SET second_factor_at = clock_now() WHERE hash = session_hash;
    END IF;
    INSERT INTO history (actor, organization_id, action, thing, thing_id)
    VALUES ('user ' || whose.email, whose.organization_id, 'second factor ' || outcome, 'user', whose.id);
    RETURN outcome <> 'failed';
END
$$;

CREATE FUNCTION remove_second_factor(of_user bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE console_user SET totp_encrypted = NULL
     WHERE id = of_user
       AND (session_user <> 'keypool_web' OR sees_everything()
            OR is_persons() AND organization_id IN (SELECT visible_organization()))
$$;

CREATE OR REPLACE FUNCTION enter_session(session_hash bytea, idle interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT enter('person', coalesce(organization_id::text, '*'), 'user ' || email)
      FROM console_session JOIN console_user ON console_user.id = console_session.user_id
     WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
       AND clock_now() < ends_at AND last_seen_at > clock_now() - idle
       AND (second_factor_at IS NOT NULL OR NOT has_second_factor)
$$;

REVOKE ALL ON FUNCTION
    end_session(bytea), sealed_second_factor(bytea), set_up_second_factor(bytea, bytea, bigint, bytea),
    give_second_factor(bytea, bigint, bytea, bytea), remove_second_factor(bigint)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    end_session(bytea), sealed_second_factor(bytea), set_up_second_factor(bytea, bytea, bigint, bytea),
    give_second_factor(bytea, bigint, bytea, bytea), remove_second_factor(bigint)
    TO keypool_web;
"""  # noqa: E501  # as schema.sql has it
