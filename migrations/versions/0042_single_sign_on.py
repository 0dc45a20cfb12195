"""Organizations have identity providers, at which their users sign in."""

from alembic import op

revision = "0042"
down_revision = "0041"
oldest_code = "0037"


def upgrade() -> None:
    op.execute(r"""
    ALTER TABLE console_user ADD COLUMN vouched_by text;

    CREATE TABLE identity_provider (
        id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        organization_id  bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
        issuer           text        NOT NULL,
        client_id        text        NOT NULL,
        secret_encrypted bytea       NOT NULL,
        role_claim       text        NOT NULL DEFAULT '',
        roles            jsonb       NOT NULL DEFAULT '{}',
        is_only          boolean     NOT NULL DEFAULT false,
        created_at       timestamptz NOT NULL DEFAULT clock_now(),
        ended_at         timestamptz,

        CONSTRAINT identity_provider_has_a_client CHECK (client_id <> '' AND length(client_id) <= 300)
    );

    CREATE UNIQUE INDEX identity_provider_is_an_organizations_one ON identity_provider (organization_id)
        WHERE ended_at IS NULL;

    COMMENT ON CONSTRAINT identity_provider_has_a_client ON identity_provider
        IS 'invalid_input(client_id): A client has an id of 1 to 300 characters.';

    CREATE TABLE identity_domain (
        domain      text   PRIMARY KEY,
        provider_id bigint REFERENCES identity_provider ON DELETE RESTRICT
    );

    CREATE INDEX identity_domain_by_provider ON identity_domain (provider_id);

    CREATE TABLE identity_request (
        state       bytea       PRIMARY KEY,
        provider_id bigint      NOT NULL REFERENCES identity_provider ON DELETE RESTRICT,
        nonce       text        NOT NULL,
        verifier    text        NOT NULL,
        ends_at     timestamptz NOT NULL
    );

    CREATE INDEX identity_request_by_end ON identity_request (ends_at);

    ALTER TABLE identity_provider ENABLE ROW LEVEL SECURITY;
    ALTER TABLE identity_domain ENABLE ROW LEVEL SECURITY;
    ALTER TABLE identity_request ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON identity_provider TO keypool_web
        USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()))
        WITH CHECK ((SELECT sees_everything()));
    CREATE POLICY tenancy ON identity_domain TO keypool_web
        USING ((SELECT sees_everything()) OR provider_id IN (SELECT id FROM identity_provider))
        WITH CHECK ((SELECT sees_everything()));
    GRANT SELECT, INSERT, UPDATE ON identity_provider, identity_domain TO keypool_web;

    CREATE FUNCTION signs_in_elsewhere(of_organization bigint) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT EXISTS (SELECT FROM organization_ancestry
                         JOIN identity_provider ON identity_provider.organization_id = ancestor_id
                        WHERE descendant_id = of_organization AND is_only AND ended_at IS NULL)
    $$;

    CREATE OR REPLACE FUNCTION password_salt(address text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT regexp_replace(password_hash, '[^$]*$', '') FROM console_user
         WHERE lower(email) = lower(address) AND disabled_at IS NULL AND NOT signs_in_elsewhere(organization_id)
    $$;

    CREATE OR REPLACE FUNCTION remember_access(address text, what text, from_client text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
        SELECT 'user ' || email, organization_id, what, 'user', id, jsonb_build_object('client', from_client)
          FROM console_user
         WHERE lower(email) = lower(address)
           AND what IN ('signed in', 'sign-in failed', 'sign-in locked', 'sign-in refused')
           AND (what <> 'sign-in locked'
                OR NOT EXISTS (SELECT FROM history AS before
                                WHERE before.thing = 'user' AND before.thing_id = console_user.id
                                  AND before.action = what AND before.detail ->> 'client' = from_client
                                  AND before.at > clock_now() - interval '15 minutes'))
    $$;

    CREATE OR REPLACE FUNCTION begin_session(
        address text, known_hash text, session_hash bytea, device_hash bytea, from_client text, in_browser text,
        lasting interval
    ) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO console_session (user_id, hash, device, client, browser, ends_at)
        SELECT id, session_hash, device_hash, from_client, in_browser, clock_now() + lasting
          FROM console_user
         WHERE lower(email) = lower(address) AND disabled_at IS NULL AND password_hash = known_hash
           AND NOT signs_in_elsewhere(organization_id);
        RETURN FOUND;
    END
    $$;

    CREATE FUNCTION find_identity_provider(of_domain text)
    RETURNS TABLE (id bigint, issuer text, client_id text, secret_encrypted bytea, role_claim text, roles jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
        SELECT identity_provider.id, issuer, client_id, secret_encrypted, role_claim, roles
          FROM identity_domain JOIN identity_provider ON identity_provider.id = provider_id
         WHERE domain = of_domain AND ended_at IS NULL
    $$;

    CREATE FUNCTION ask_identity_provider(
        asked bigint, state_hash bytea, with_nonce text, with_verifier text, lasting interval
    ) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        INSERT INTO identity_request (state, provider_id, nonce, verifier, ends_at)
        VALUES (state_hash, asked, with_nonce, with_verifier, clock_now() + lasting)
    $$;

    CREATE FUNCTION take_identity_request(state_hash bytea)
    RETURNS TABLE (provider_id bigint, issuer text, client_id text, secret_encrypted bytea, role_claim text,
                   roles jsonb, nonce text, verifier text)
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
        WITH taken AS (DELETE FROM identity_request WHERE state = state_hash RETURNING *)
        SELECT taken.provider_id, issuer, client_id, secret_encrypted, role_claim, roles, nonce, verifier
          FROM taken JOIN identity_provider ON identity_provider.id = taken.provider_id
         WHERE clock_now() < ends_at AND ended_at IS NULL
    $$;

    CREATE FUNCTION begin_vouched_session(
        vouching bigint, vouched_subject text, address text, vouched_role role, session_hash bytea,
        device_hash bytea, from_client text, in_browser text, lasting interval
    ) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        provider identity_provider;
        whose    console_user;
        subject  text;
    BEGIN
        SELECT * INTO provider FROM identity_provider WHERE id = vouching;
        subject := provider.issuer || ' ' || vouched_subject;
        IF NOT EXISTS (SELECT FROM identity_domain WHERE provider_id = provider.id
                          AND domain = lower(split_part(address, '@', 2))) THEN
            RETURN 'domain';
        END IF;
        SELECT * INTO whose FROM console_user WHERE lower(email) = lower(address) FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            IF vouched_role IS NULL OR vouched_role = 'operator' THEN
                RETURN 'unknown';
            END IF;
            INSERT INTO console_user (organization_id, email, role, vouched_by)
            VALUES (provider.organization_id, address, vouched_role, subject) RETURNING * INTO whose;
            INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
            VALUES ('user ' || whose.email, whose.organization_id, 'user added', 'user', whose.id,
                    jsonb_build_object('role', whose.role, 'by', provider.issuer));
        ELSIF NOT EXISTS (SELECT FROM organization_ancestry WHERE descendant_id = whose.organization_id
                             AND ancestor_id = provider.organization_id) THEN
            RETURN 'unknown';
        ELSIF whose.disabled_at IS NOT NULL OR whose.vouched_by <> subject THEN
            PERFORM remember_access(address, 'sign-in refused', from_client);
            RETURN 'refused';
        END IF;
        UPDATE console_user SET vouched_by = subject, role = coalesce(nullif(vouched_role, 'operator'), role)
         WHERE id = whose.id;
        INSERT INTO console_session (user_id, hash, device, client, browser, ends_at, second_factor_at)
        VALUES (whose.id, session_hash, device_hash, from_client, in_browser, clock_now() + lasting,
                clock_now());
        PERFORM remember_access(address, 'signed in', from_client);
        RETURN 'began';
    END
    $$;

    REVOKE ALL ON FUNCTION signs_in_elsewhere(bigint), find_identity_provider(text),
    ask_identity_provider(bigint, bytea, text, text, interval), take_identity_request(bytea),
    begin_vouched_session(bigint, text, text, role, bytea, bytea, text, text, interval) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION find_identity_provider(text),
    ask_identity_provider(bigint, bytea, text, text, interval), take_identity_request(bytea),
    begin_vouched_session(bigint, text, text, role, bytea, bytea, text, text, interval) TO keypool_web;
    """)
