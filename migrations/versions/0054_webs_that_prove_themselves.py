"""A web proves to the database that it holds the secret key where nobody else proves who asks.

Older webs prove nothing, and functions that let them in without a proof would let in any SQL: they are
stopped for this migration, as for 0051.
"""

from alembic import op

revision = "0054"
down_revision = "0053"
oldest_code = "0054"


def upgrade() -> None:
    """Have the doors of the receiver, of redeem pages and of identity providers demand proofs."""
    op.execute(PROVING)
    op.execute(ENTERING)
    op.execute(VOUCHING)


PROVING = r"""
-- A web proves to some functions that it holds KEYPOOL_SECRET_KEY, which no SQL knows: by HMAC-SHA256 (RFC
-- 2104) over the words of what it asks, a proof by each of its keys. A row is one of those keys, derived for
-- that alone, as HMAC's two blocks. The owner's processes write the rows.
CREATE TABLE web_key (
    inner_block bytea PRIMARY KEY,
    outer_block bytea NOT NULL
);

ALTER TABLE web_key ENABLE ROW LEVEL SECURITY;

-- The words are told as a JSON array. One proof after the other: it is enough that one is right.
CREATE FUNCTION require_proof(proofs bytea, VARIADIC words text[]) RETURNS void
LANGUAGE plpgsql STABLE AS $$
DECLARE
    asked bytea := convert_to(to_json(words)::text, 'UTF8');
BEGIN
    IF EXISTS (SELECT FROM web_key
                WHERE position(sha256(outer_block || sha256(inner_block || asked)) IN proofs) > 0) THEN
        RETURN;
    END IF;
    RAISE EXCEPTION 'no web that this database knows has proved that it asks this'
        USING ERRCODE = 'invalid_authorization_specification';
END
$$;

-- Whether a web's proofs count here, for its readiness.
CREATE FUNCTION knows_web(proofs bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'ready');
    RETURN true;
EXCEPTION WHEN invalid_authorization_specification THEN
    RETURN false;
END
$$;

REVOKE ALL ON FUNCTION require_proof(bytea, text[]), knows_web(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION knows_web(bytea) TO keypool_web;
"""

ENTERING = """
DROP FUNCTION enter_source(bigint), enter_page(bigint);

-- Enter as a door that knows nobody: the receiver of a source, an organization's redeem page.
CREATE FUNCTION enter_source(source_id bigint, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'source', source_id::text);
    RETURN (SELECT enter('door', organization_id::text, 'source ' || id)
              FROM source WHERE id = enter_source.source_id);
END
$$;

CREATE FUNCTION enter_page(of_organization bigint, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'page', of_organization::text);
    RETURN (SELECT enter('door', id::text, 'redeem page') FROM organization
             WHERE id = of_organization AND redeem_page <> 'off');
END
$$;

REVOKE ALL ON FUNCTION enter_source(bigint, bytea), enter_page(bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enter_source(bigint, bytea), enter_page(bigint, bytea) TO keypool_web;
"""

VOUCHING = """
DROP FUNCTION begin_vouched_session(bigint, text, text, role, bytea, bytea, text, text, interval);

-- Begin the session of whom an identity provider vouches for; else says why not. It speaks for its domains and its
-- organization's tree alone. A user is known by the provider's own name for them once they signed in there.
-- Whoever is new is made, where the provider says their role; a role that it says replaces the one before. The web
-- judges what the provider signed, and proves that it says so: of that user and role, for that session.
CREATE FUNCTION begin_vouched_session(
    vouching bigint, vouched_subject text, address text, vouched_role role, session_hash bytea, device_hash bytea,
    from_client text, in_browser text, lasting interval, proofs bytea
) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    provider identity_provider;
    whose    console_user;
    subject  text;
BEGIN
    PERFORM require_proof(proofs, 'vouched', vouching::text, vouched_subject, address, vouched_role::text,
                          encode(session_hash, 'hex'));
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

REVOKE ALL ON FUNCTION
    begin_vouched_session(bigint, text, text, role, bytea, bytea, text, text, interval, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    begin_vouched_session(bigint, text, text, role, bytea, bytea, text, text, interval, bytea) TO keypool_web;
"""  # noqa: E501  # as schema.sql has it
