"""The first operator is made by a one-time link, and sample data is asked for on a page."""

from alembic import op

revision = "0073"
down_revision = "0072"
oldest_code = "0055"


def upgrade() -> None:
    """Add the first start; older code does not know of it."""
    op.execute("""
CREATE TABLE first_start (
    only_one          boolean     PRIMARY KEY DEFAULT true,
    hash              bytea,
    ends_at           timestamptz,
    samples_wanted_at timestamptz,
    samples_made_at   timestamptz,

    CONSTRAINT first_start_is_one       CHECK (only_one),
    CONSTRAINT first_start_link_ends    CHECK ((hash IS NULL) = (ends_at IS NULL)),
    CONSTRAINT first_start_samples_once CHECK (samples_made_at IS NULL OR samples_wanted_at IS NOT NULL)
);
INSERT INTO first_start DEFAULT VALUES;

ALTER TABLE first_start    ENABLE ROW LEVEL SECURITY;
CREATE POLICY operating ON first_start TO keypool_web USING ((SELECT sees_everything()));
GRANT SELECT (only_one, samples_wanted_at, samples_made_at) ON first_start TO keypool_web;
GRANT UPDATE (samples_wanted_at) ON first_start TO keypool_web;

CREATE FUNCTION somebody_can_sign_in() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM console_user
                    WHERE disabled_at IS NULL AND (password_hash IS NOT NULL OR vouched_by IS NOT NULL))
$$;

CREATE FUNCTION first_start_holds(link_hash bytea) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT NOT somebody_can_sign_in()
       AND EXISTS (SELECT FROM first_start WHERE hash = link_hash AND clock_now() < ends_at)
$$;

CREATE FUNCTION make_first_operator(link_hash bytea, address text, new_hash text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made bigint;
BEGIN
    PERFORM FROM first_start FOR UPDATE;
    IF NOT first_start_holds(link_hash) THEN
        RETURN false;
    END IF;
    UPDATE console_user SET password_hash = new_hash
     WHERE lower(email) = lower(address) AND role = 'operator' AND disabled_at IS NULL
    RETURNING id INTO made;
    IF made IS NULL THEN
        INSERT INTO console_user (email, role, password_hash) VALUES (address, 'operator', new_hash)
        RETURNING id INTO made;
    END IF;
    UPDATE first_start SET hash = NULL, ends_at = NULL;
    INSERT INTO history (actor, action, thing, thing_id, detail)
    VALUES ('user ' || address, 'first operator made', 'user', made, '{}');
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION somebody_can_sign_in(), first_start_holds(bytea),
    make_first_operator(bytea, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION somebody_can_sign_in(), first_start_holds(bytea),
    make_first_operator(bytea, text, text) TO keypool_web;
    """)
