"""Users choose passwords by one-time links, and tokens know who made them."""

from alembic import op

revision = "0034"
down_revision = "0033"
oldest_code = "0034"  # older code asks find_token without a network


def upgrade() -> None:
    op.execute(r"""
    ALTER TABLE console_user ALTER COLUMN password_hash DROP NOT NULL;
    ALTER TABLE token ADD COLUMN made_by text NOT NULL DEFAULT '';

    CREATE TABLE sign_in_link (
        id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id    bigint      NOT NULL REFERENCES console_user ON DELETE RESTRICT,
        hash       bytea       NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_now(),
        ends_at    timestamptz NOT NULL,
        used_at    timestamptz,

        CONSTRAINT sign_in_link_is_unique UNIQUE (hash)
    );

    CREATE INDEX sign_in_link_by_user ON sign_in_link (user_id);

    CREATE TABLE token_network (
        token_id bigint      NOT NULL REFERENCES token ON DELETE RESTRICT,
        client   text        NOT NULL,
        first_at timestamptz NOT NULL DEFAULT clock_now(),

        PRIMARY KEY (token_id, client)
    );

    ALTER TABLE token_network ENABLE ROW LEVEL SECURITY;
    ALTER TABLE sign_in_link ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON sign_in_link TO keypool_web
        USING ((SELECT sees_everything()) OR user_id IN (SELECT id FROM console_user));
    GRANT SELECT, INSERT, UPDATE (used_at) ON sign_in_link TO keypool_web;

    CREATE FUNCTION find_sign_in_link(link_hash bytea) RETURNS TABLE (user_id bigint, email text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
        SELECT console_user.id, console_user.email
          FROM sign_in_link JOIN console_user ON console_user.id = sign_in_link.user_id
         WHERE hash = link_hash AND used_at IS NULL AND clock_now() < ends_at AND disabled_at IS NULL
    $$;

    CREATE FUNCTION use_sign_in_link(link_hash bytea, new_hash text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        whose console_user;
    BEGIN
        SELECT console_user.* INTO whose
          FROM sign_in_link JOIN console_user ON console_user.id = user_id
         WHERE hash = link_hash AND used_at IS NULL AND clock_now() < ends_at AND disabled_at IS NULL
           FOR NO KEY UPDATE OF sign_in_link, console_user;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        UPDATE console_user SET password_hash = new_hash WHERE id = whose.id;
        UPDATE sign_in_link SET used_at = clock_now() WHERE user_id = whose.id AND used_at IS NULL;
        UPDATE console_session SET ended_at = clock_now() WHERE user_id = whose.id AND ended_at IS NULL;
        INSERT INTO history (actor, organization_id, action, thing, thing_id)
        VALUES ('user ' || whose.email, whose.organization_id, 'password chosen', 'user', whose.id);
        RETURN true;
    END
    $$;

    DROP FUNCTION find_token(bytea);
    DROP FUNCTION note_token(bytea);

    CREATE FUNCTION find_token(token_hash bytea, from_client text)
    RETURNS TABLE (id bigint, name text, role role, organization_id bigint, to_note boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
        SELECT id, name, role, organization_id,
               coalesce(last_used_at <= clock_now() - interval '1 minute', true)
               OR NOT EXISTS (SELECT FROM token_network WHERE token_id = token.id AND client = from_client)
          FROM token
         WHERE hash = token_hash AND revoked_at IS NULL AND (expires_at IS NULL OR clock_now() < expires_at)
    $$;

    CREATE FUNCTION note_token(token_hash bytea, from_client text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        UPDATE token SET last_used_at = clock_now()
         WHERE hash = token_hash AND coalesce(last_used_at <= clock_now() - interval '1 minute', true);
        WITH fresh AS (
            INSERT INTO token_network (token_id, client)
            SELECT id, from_client FROM token WHERE hash = token_hash
            ON CONFLICT DO NOTHING RETURNING token_id)
        INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
        SELECT 'token ' || id || ' (' || name || ')', organization_id, 'token used from a new address', 'token',
               id, jsonb_build_object('client', from_client)
          FROM token JOIN fresh ON token_id = id
    $$;

    REVOKE ALL ON FUNCTION find_sign_in_link(bytea), use_sign_in_link(bytea, text),
        find_token(bytea, text), note_token(bytea, text) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION find_sign_in_link(bytea), use_sign_in_link(bytea, text),
        find_token(bytea, text), note_token(bytea, text) TO keypool_web;
    """)
