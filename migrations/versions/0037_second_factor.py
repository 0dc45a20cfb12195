"""Users have a second factor, which operators need and organizations can demand."""

from alembic import op

revision = "0037"
down_revision = "0036"
oldest_code = "0037"  # older code would ask resume_session no second factor


def upgrade() -> None:
    op.execute(r"""
    ALTER TABLE organization ADD COLUMN second_factor boolean NOT NULL DEFAULT false;
    ALTER TABLE console_user ADD COLUMN totp_encrypted bytea;
    ALTER TABLE console_user ADD COLUMN totp_step bigint NOT NULL DEFAULT 0;
    ALTER TABLE console_session ADD COLUMN second_factor_at timestamptz;

    CREATE TABLE recovery_code (
        id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id bigint      NOT NULL REFERENCES console_user ON DELETE RESTRICT,
        hash    bytea       NOT NULL,
        ended_at timestamptz,  -- when it was used, or replaced by others

        CONSTRAINT recovery_code_is_unique UNIQUE (user_id, hash)
    );

    ALTER TABLE recovery_code ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON recovery_code TO keypool_web
        USING ((SELECT sees_everything()) OR user_id IN (SELECT id FROM console_user));
    GRANT SELECT, INSERT, UPDATE (ended_at) ON recovery_code TO keypool_web;
    GRANT UPDATE (second_factor_at) ON console_session TO keypool_web;
    DROP FUNCTION resume_session(bytea, interval);

    CREATE FUNCTION resume_session(session_hash bytea, idle interval, of_operators boolean)
    RETURNS TABLE (id bigint, user_id bigint, email text, role role, organization_id bigint,
                   since_confirmed interval, lacks text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    BEGIN
        UPDATE console_session SET last_seen_at = clock_now()
         WHERE hash = session_hash AND ended_at IS NULL
           AND last_seen_at BETWEEN clock_now() - idle AND clock_now() - interval '1 minute';
        RETURN QUERY
        SELECT console_session.id, console_user.id, console_user.email, console_user.role,
               console_user.organization_id, clock_now() - console_session.confirmed_at,
               CASE WHEN second_factor_at IS NOT NULL THEN NULL
                    WHEN totp_encrypted IS NOT NULL THEN 'code'
                    WHEN console_user.role = 'operator' AND of_operators
                      OR EXISTS (SELECT FROM organization_ancestry
                                   JOIN organization AS above ON above.id = ancestor_id
                                  WHERE descendant_id = console_user.organization_id AND above.second_factor)
                    THEN 'second factor' END
          FROM console_session JOIN console_user ON console_user.id = console_session.user_id
         WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
           AND clock_now() < ends_at AND last_seen_at > clock_now() - idle;
    END
    $$;

    REVOKE ALL ON FUNCTION resume_session(bytea, interval, boolean) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION resume_session(bytea, interval, boolean) TO keypool_web;
    """)
