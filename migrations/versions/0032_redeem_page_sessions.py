"""The redeem page: its sessions, the codes that prove an address, and its source of events."""

from alembic import op

revision = "0032"
down_revision = "0031"
oldest_code = "0030"

TABLE = """
-- One browser at a redeem page, known by the hash of a random id that its cookie has. organization_id: whose
-- page it is; null where it is nobody's, and until a key says so. needs_code: an address is proved by a code,
-- which message_id's mail brings; the code is made of the message's identity and kept nowhere. asked_encrypted:
-- the key and the name that were typed, until the key is judged. outcome: of a key that no inbox could take.
CREATE TABLE page_session (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash            bytea       NOT NULL,
    organization_id bigint      REFERENCES organization ON DELETE RESTRICT,
    email           text        NOT NULL,
    email_lower     text        NOT NULL GENERATED ALWAYS AS (lower(email)) STORED,
    client_hash     bytea       NOT NULL,
    language        text        NOT NULL,
    asked_encrypted bytea,
    needs_code      boolean     NOT NULL,
    message_id      bigint      REFERENCES message ON DELETE RESTRICT,
    tries           int         NOT NULL DEFAULT 0,
    began_at        timestamptz NOT NULL DEFAULT clock_now(),
    proved_at       timestamptz,
    event_id        bigint      REFERENCES event ON DELETE RESTRICT,
    outcome         text,

    CONSTRAINT page_session_is_known_by_its_hash UNIQUE (hash),
    CONSTRAINT page_session_has_five_tries       CHECK (tries BETWEEN 0 AND 5)
);

-- Read where a code is asked for: those of an address, and of a client, within a day.
CREATE INDEX page_session_by_address ON page_session (email_lower, began_at);
CREATE INDEX page_session_by_client ON page_session (client_hash, began_at);
-- Read by the sweep that removes old ones.
CREATE INDEX page_session_by_age ON page_session (began_at);

ALTER TABLE page_session ENABLE ROW LEVEL SECURITY;
"""

FUNCTIONS = """
-- What the redeem page must know before it knows for whom: an organization by its slug, or by a key of its
-- pools, where it has a page. Nobody learns of the others.
CREATE FUNCTION page_of_slug(of_slug text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT id FROM organization WHERE slug = of_slug AND redeem_page <> 'off'
$$;

CREATE FUNCTION page_of_key(canonical text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT organization.id
      FROM meant_key(page_of_key.canonical) AS meant
      JOIN pool ON pool.id = meant.pool_id
      JOIN organization ON organization.id = pool.organization_id
     WHERE redeem_page <> 'off'
$$;

-- The source that an organization's redeem page records its events for: made when it is first needed.
CREATE FUNCTION page_source(of_organization bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known bigint;
BEGIN
    SELECT id INTO known FROM source WHERE organization_id = of_organization AND kind = 'page';
    IF known IS NULL THEN
        -- A source of a person's may have that name.
        INSERT INTO source (organization_id, name, kind)
        SELECT id, CASE WHEN taken THEN 'Redeem page ' || gen_random_uuid() ELSE 'Redeem page' END, 'page'
          FROM organization
         CROSS JOIN (SELECT EXISTS (SELECT FROM source WHERE organization_id = of_organization
                                                         AND name = 'Redeem page') AS taken) AS names
         WHERE id = of_organization AND redeem_page <> 'off'
        ON CONFLICT (organization_id) WHERE kind = 'page' DO NOTHING;
        SELECT id INTO known FROM source WHERE organization_id = of_organization AND kind = 'page';
    END IF;
    RETURN known;
END
$$;

-- Begin a page's session; with a code, and its mail where there is somebody to send it. False: too many
-- codes were asked for within a day and not typed in, for that address or by that client. One at a time, so
-- that a hundred at once are counted one after the other; those of a page that does not exist are counted too.
CREATE FUNCTION begin_page_session(
    of_hash bytea, of_organization bigint, of_email text, of_client bytea, in_language text, asked bytea,
    with_code boolean, with_mail boolean, per_address bigint, per_client bigint
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    since timestamptz := clock_now() - interval '1 day';
    mail  bigint;
BEGIN
    IF with_code THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('address ' || lower(of_email), 2));
        PERFORM pg_advisory_xact_lock(hashtextextended('client ' || encode(of_client, 'hex'), 3));
        IF per_address <= (SELECT count(*) FROM page_session
                            WHERE email_lower = lower(of_email) AND began_at > since
                              AND needs_code AND proved_at IS NULL)
           OR per_client <= (SELECT count(*) FROM page_session
                              WHERE client_hash = of_client AND began_at > since
                                AND needs_code AND proved_at IS NULL) THEN
            RETURN false;
        END IF;
    END IF;
    IF with_mail THEN
        INSERT INTO message (organization_id, kind, recipient, data)
        VALUES (of_organization, 'code', of_email, jsonb_build_object('language', in_language))
        RETURNING id INTO mail;
    END IF;
    INSERT INTO page_session (hash, organization_id, email, client_hash, language, asked_encrypted,
                              needs_code, message_id)
    VALUES (of_hash, of_organization, of_email, of_client, in_language, asked, with_code, mail);
    RETURN true;
END
$$;

-- A page's session by its hash. over: its code is not good any more: five tries are used up, or ten minutes
-- are over since its mail was sent; a mail that waits for the mail server brings a code that is good. late:
-- the mail server is away. Where no mail is sent, the answers are those of one that was sent at once.
CREATE FUNCTION find_page_session(of_hash bytea)
RETURNS TABLE (
    id bigint, organization_id bigint, email text, language text, asked_encrypted bytea, identity text,
    needs_code boolean, proved boolean, tries int, over boolean, late boolean, event_id bigint, outcome text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    SELECT it.id, it.organization_id, it.email, it.language, it.asked_encrypted, message.identity::text,
           it.needs_code, it.proved_at IS NOT NULL, it.tries,
           it.tries >= 5 OR CASE
               WHEN message.id IS NULL
               THEN mail_server.failures = 0 AND clock_now() >= it.began_at + interval '10 minutes'
               ELSE message.state <> 'waiting' AND clock_now() >= message.ended_at + interval '10 minutes' END,
           mail_server.failures > 0, it.event_id, it.outcome
      FROM page_session AS it
     CROSS JOIN mail_server
      LEFT JOIN message ON message.id = it.message_id
     WHERE it.hash = of_hash
       AND clock_now() < CASE WHEN it.needs_code AND it.proved_at IS NULL THEN it.began_at + interval '4 days'
                              ELSE coalesce(it.proved_at, it.began_at) + interval '2 hours' END
$$;

-- Take one of a code's five tries; false where none is left.
CREATE FUNCTION try_page_code(of_hash bytea) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH tried AS (
        UPDATE page_session SET tries = tries + 1
         WHERE hash = of_hash AND needs_code AND proved_at IS NULL AND tries < 5
        RETURNING id)
    SELECT EXISTS (SELECT FROM tried)
$$;

-- The code was right: the address is proved, and the code's mail says it no more.
CREATE FUNCTION prove_page_session(of_hash bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE message SET data = NULL FROM page_session
     WHERE page_session.hash = of_hash AND message.id = page_session.message_id AND message.state <> 'waiting';
    UPDATE page_session SET proved_at = clock_now() WHERE hash = of_hash AND proved_at IS NULL;
$$;

-- The key that a session asked for is before the settler, or no inbox could take it.
CREATE FUNCTION note_page_key(of_hash bytea, of_organization bigint, of_event bigint, of_outcome text)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE page_session
       SET asked_encrypted = NULL, event_id = of_event, outcome = of_outcome,
           organization_id = coalesce(organization_id, of_organization)
     WHERE hash = of_hash
$$;

CREATE FUNCTION end_page_session(of_hash bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM page_session WHERE hash = of_hash AND (proved_at IS NOT NULL OR NOT needs_code)
$$;

-- Remove the sessions of a person who is erased; over the web the operator alone does so.
CREATE FUNCTION forget_page_sessions(address text, organization_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM page_session
     WHERE email_lower = lower(address)
       AND (organization_id IS NULL OR organization_id = ANY (organization_ids))
       AND (session_user <> 'keypool_web' OR sees_everything())
$$;

REVOKE ALL ON FUNCTION page_of_slug(text), page_of_key(text), page_source(bigint),
    begin_page_session(bytea, bigint, text, bytea, text, bytea, boolean, boolean, bigint, bigint),
    find_page_session(bytea), try_page_code(bytea), prove_page_session(bytea),
    note_page_key(bytea, bigint, bigint, text), end_page_session(bytea),
    forget_page_sessions(text, bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION page_of_slug(text), page_of_key(text), page_source(bigint),
    begin_page_session(bytea, bigint, text, bytea, text, bytea, boolean, boolean, bigint, bigint),
    find_page_session(bytea), try_page_code(bytea), prove_page_session(bytea),
    note_page_key(bytea, bigint, bigint, text), end_page_session(bytea),
    forget_page_sessions(text, bigint[]) TO keypool_web;
"""


def upgrade() -> None:
    op.execute("""
    CREATE TYPE source_kind AS ENUM ('system', 'page');
    ALTER TABLE source ADD COLUMN kind source_kind NOT NULL DEFAULT 'system';
    CREATE UNIQUE INDEX source_is_an_organizations_only_page ON source (organization_id) WHERE kind = 'page';
    ALTER TABLE message ALTER COLUMN organization_id DROP NOT NULL;
    CREATE INDEX message_code_to_blank ON message (ended_at) WHERE kind = 'code' AND data IS NOT NULL;
    """)
    op.execute(TABLE)
    op.execute(FUNCTIONS)
