"""Sessions of the console are rows, and failed sign-ins are throttled, not locked out."""

from alembic import op

revision = "0030"
down_revision = "0029"
oldest_code = "0030"  # older code looks for what is dropped here
changes = {
    "sign_in_attempt": "ten minutes' attempts, counted by sign_in_throttle from now on",
    "console_user.generation": "a session is a row that can be ended, and needs no number",
}


def upgrade() -> None:
    op.execute(r"""
    DROP FUNCTION find_user(text);
    DROP FUNCTION find_session(bigint, int);
    DROP FUNCTION note_sign_in(bytea, interval);
    DROP FUNCTION forget_sign_ins(bytea);
    DROP TABLE sign_in_attempt;
    ALTER TABLE console_user DROP COLUMN generation;

    CREATE TABLE console_session (
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id      bigint      NOT NULL REFERENCES console_user ON DELETE RESTRICT,
        hash         bytea       NOT NULL,
        device       bytea       NOT NULL,
        client       text        NOT NULL,  -- a network, not an address: 192.0.2.0/24
        browser      text        NOT NULL DEFAULT '',
        created_at   timestamptz NOT NULL DEFAULT clock_now(),
        confirmed_at timestamptz NOT NULL DEFAULT clock_now(),
        last_seen_at timestamptz NOT NULL DEFAULT clock_now(),
        ends_at      timestamptz NOT NULL,
        ended_at     timestamptz,

        CONSTRAINT console_session_is_unique UNIQUE (hash)
    );

    CREATE INDEX console_session_by_user ON console_session (user_id, device);
    CREATE INDEX console_session_by_end ON console_session (ends_at);

    CREATE TABLE sign_in_throttle (
        subject  bytea            PRIMARY KEY,
        failures double precision NOT NULL,
        last_at  timestamptz      NOT NULL DEFAULT now()
    );

    CREATE INDEX sign_in_throttle_by_age ON sign_in_throttle (last_at);

    ALTER TABLE console_session ENABLE ROW LEVEL SECURITY;
    ALTER TABLE sign_in_throttle ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON console_session TO keypool_web
        USING ((SELECT sees_everything()) OR user_id IN (SELECT id FROM console_user));
    GRANT SELECT, UPDATE (ended_at) ON console_session TO keypool_web;

    CREATE FUNCTION password_salt(address text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT regexp_replace(password_hash, '[^$]*$', '') FROM console_user
         WHERE lower(email) = lower(address) AND disabled_at IS NULL
    $$;

    CREATE FUNCTION knows_device(address text, device_hash bytea) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT EXISTS (SELECT FROM console_session
                         JOIN console_user ON console_user.id = user_id
                        WHERE lower(email) = lower(address) AND device = device_hash)
    $$;

    CREATE FUNCTION remember_access(address text, what text, from_client text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
        SELECT 'user ' || email, organization_id, what, 'user', id, jsonb_build_object('client', from_client)
          FROM console_user
         WHERE lower(email) = lower(address)
           AND what IN ('signed in', 'sign-in failed', 'sign-in locked')
           AND (what <> 'sign-in locked'
                OR NOT EXISTS (SELECT FROM history AS before
                                WHERE before.thing = 'user' AND before.thing_id = console_user.id
                                  AND before.action = what AND before.detail ->> 'client' = from_client
                                  AND before.at > clock_now() - interval '15 minutes'))
    $$;

    CREATE FUNCTION begin_session(
        address text, known_hash text, session_hash bytea, device_hash bytea, from_client text, in_browser text,
        lasting interval
    ) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO console_session (user_id, hash, device, client, browser, ends_at)
        SELECT id, session_hash, device_hash, from_client, in_browser, clock_now() + lasting
          FROM console_user
         WHERE lower(email) = lower(address) AND disabled_at IS NULL AND password_hash = known_hash;
        RETURN FOUND;
    END
    $$;

    CREATE FUNCTION resume_session(session_hash bytea, idle interval)
    RETURNS TABLE (id bigint, user_id bigint, email text, role role, organization_id bigint,
                   since_confirmed interval)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    BEGIN
        UPDATE console_session SET last_seen_at = clock_now()
         WHERE hash = session_hash AND ended_at IS NULL
           AND last_seen_at BETWEEN clock_now() - idle AND clock_now() - interval '1 minute';
        RETURN QUERY
        SELECT console_session.id, console_user.id, console_user.email, console_user.role,
               console_user.organization_id, clock_now() - console_session.confirmed_at
          FROM console_session JOIN console_user ON console_user.id = console_session.user_id
         WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
           AND clock_now() < ends_at AND last_seen_at > clock_now() - idle;
    END
    $$;

    CREATE FUNCTION confirm_session(session_hash bytea, known_hash text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        UPDATE console_session SET confirmed_at = clock_now() FROM console_user
         WHERE hash = session_hash AND ended_at IS NULL
           AND console_user.id = user_id AND disabled_at IS NULL AND password_hash = known_hash;
        RETURN FOUND;
    END
    $$;

    CREATE FUNCTION throttle_sign_in(of_subject bytea, free int, longest interval, worn_off interval)
    RETURNS interval
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        known sign_in_throttle;
        pause interval;
    BEGIN
        INSERT INTO sign_in_throttle VALUES (of_subject, 1) ON CONFLICT DO NOTHING;
        IF FOUND THEN
            RETURN interval '0';
        END IF;
        SELECT * INTO known FROM sign_in_throttle WHERE subject = of_subject FOR NO KEY UPDATE;
        known.failures := greatest(0, known.failures - extract(epoch FROM now() - known.last_at)
                                                     / extract(epoch FROM worn_off));
        IF known.failures >= free THEN
            pause := least(longest, interval '1 second' * power(2, least(known.failures - free, 30)));
            IF known.last_at + pause > now() THEN
                RETURN known.last_at + pause - now();
            END IF;
        END IF;
        UPDATE sign_in_throttle SET failures = known.failures + 1, last_at = greatest(now(), known.last_at)
         WHERE subject = of_subject;
        RETURN interval '0';
    END
    $$;

    CREATE FUNCTION forgive_sign_ins(subjects bytea[]) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DELETE FROM sign_in_throttle WHERE subject = ANY (subjects)
    $$;

    CREATE FUNCTION uncount_sign_in(of_subject bytea) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        UPDATE sign_in_throttle SET failures = greatest(0, failures - 1) WHERE subject = of_subject
    $$;

    REVOKE ALL ON FUNCTION password_salt(text), knows_device(text, bytea),
        remember_access(text, text, text), begin_session(text, text, bytea, bytea, text, text, interval),
        resume_session(bytea, interval), confirm_session(bytea, text),
        throttle_sign_in(bytea, int, interval, interval), forgive_sign_ins(bytea[]),
        uncount_sign_in(bytea) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION password_salt(text), knows_device(text, bytea),
        remember_access(text, text, text), begin_session(text, text, bytea, bytea, text, text, interval),
        resume_session(bytea, interval), confirm_session(bytea, text),
        throttle_sign_in(bytea, int, interval, interval), forgive_sign_ins(bytea[]),
        uncount_sign_in(bytea) TO keypool_web;
    """)
