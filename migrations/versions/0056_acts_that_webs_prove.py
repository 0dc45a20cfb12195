"""A web proves what it says of passwords, codes, links and guesses, too: SQL alone says none of it.

Older webs prove nothing, as for 0054: they are stopped for this migration.
"""

from alembic import op

revision = "0056"
down_revision = "0055"
oldest_code = "0056"


def upgrade() -> None:
    """Have these functions demand proofs."""
    op.execute(DROPPED)
    op.execute(PROVED)
    op.execute(GRANTED)


DROPPED = """
DROP FUNCTION sender_of(bigint), unsubscribe(bigint), password_salt(text),
    begin_session(text, text, bytea, bytea, text, text, interval), confirm_session(bytea, text, text),
    forgive_sign_ins(bytea[]), uncount_sign_in(bytea), page_of_key(text),
    begin_page_session(bytea, bigint, text, bytea, text, bytea, boolean, boolean, bigint, bigint),
    prove_page_session(bytea), note_page_key(bytea, bigint, bigint, text);

REVOKE EXECUTE ON FUNCTION remember_access(text, text, text) FROM keypool_web;
"""

PROVED = """
CREATE FUNCTION sender_of(message_id bigint, proofs bytea)
RETURNS TABLE (organization text, locale text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
BEGIN
    PERFORM require_proof(proofs, 'unsubscribe', message_id::text);
    RETURN QUERY
    SELECT coalesce(nullif(organization.sender_name, ''), organization.name), organization.locale
      FROM message JOIN organization ON organization.id = message.organization_id
     WHERE message.id = message_id;
END
$$;

CREATE FUNCTION unsubscribe(message_id bigint, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'unsubscribe', message_id::text);
    INSERT INTO unsubscribed (organization_id, address)
    SELECT organization_id, recipient_lower FROM message WHERE id = message_id
    ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION password_salt(address text, otherwise text, proofs bytea) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    asked bytea := convert_to('salt ' || lower(address), 'UTF8');
BEGIN
    PERFORM require_proof(proofs, 'salt', address);
    RETURN coalesce(
        (SELECT regexp_replace(password_hash, '[^$]*$', '') FROM console_user
          WHERE lower(email) = lower(address)),
        (SELECT otherwise || rtrim(encode(substr(sha256(secret || sha256(secret || asked)), 1, 16), 'base64'), '=') || '$'
           FROM wall));
END
$$;

CREATE FUNCTION remember_locked(address text, from_client text, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'locked', address, from_client);
    PERFORM remember_access(address, 'sign-in locked', from_client);
END
$$;

CREATE FUNCTION begin_session(
    address text, known_hash text, session_hash bytea, device_hash bytea, from_client text, in_browser text,
    lasting interval, proofs bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
    outcome text := 'signed in';
BEGIN
    -- The web has counted the attempt: SQL alone could guess without end.
    PERFORM require_proof(proofs, 'sign in', address, known_hash, encode(session_hash, 'hex'));
    SELECT * INTO whose FROM console_user WHERE lower(email) = lower(address);
    IF (whose.password_hash = known_hash) IS NOT TRUE THEN
        outcome := 'sign-in failed';
    ELSIF whose.disabled_at IS NOT NULL OR signs_in_elsewhere(whose.organization_id) THEN
        outcome := 'sign-in refused';
    ELSE
        INSERT INTO console_session (user_id, hash, device, client, browser, ends_at)
        VALUES (whose.id, session_hash, device_hash, from_client, in_browser, clock_now() + lasting);
    END IF;
    PERFORM remember_access(address, outcome, from_client);
    RETURN outcome = 'signed in';
END
$$;

CREATE FUNCTION confirm_session(session_hash bytea, known_hash text, from_client text, proofs bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whose console_user;
    outcome text := 'sign-in failed';
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
        outcome := 'sign-in refused';
    END IF;
    PERFORM remember_access(whose.email, outcome, from_client);
    RETURN false;
END
$$;

CREATE FUNCTION forgive_sign_ins(subjects bytea[], proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, VARIADIC array_prepend(
        'forgive', ARRAY(SELECT encode(one, 'hex') FROM unnest(subjects) AS one)));
    DELETE FROM sign_in_throttle WHERE subject = ANY (subjects);
END
$$;

CREATE FUNCTION uncount_sign_in(of_subject bytea, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'uncount', encode(of_subject, 'hex'));
    UPDATE sign_in_throttle SET failures = greatest(0, failures - 1) WHERE subject = of_subject;
END
$$;

CREATE FUNCTION page_of_key(canonical text, proofs bytea) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'key', canonical);
    RETURN (SELECT organization.id
              FROM meant_key(page_of_key.canonical) AS meant
              JOIN pool ON pool.id = meant.pool_id
              JOIN organization ON organization.id = pool.organization_id
             WHERE redeem_page <> 'off');
END
$$;

CREATE FUNCTION begin_page_session(
    of_hash bytea, of_organization bigint, of_email text, of_client bytea, in_language text, asked bytea,
    with_code boolean, with_mail boolean, per_address bigint, per_client bigint, proofs bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    since timestamptz := clock_now() - interval '1 day';
    mail  bigint;
BEGIN
    PERFORM require_proof(proofs, 'begin', encode(of_hash, 'hex'), of_organization::text, of_email, with_code::text,
                          with_mail::text);
    IF with_code THEN
        PERFORM FROM lock WHERE name = 'proving' FOR UPDATE;
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

CREATE FUNCTION prove_page_session(of_hash bytea, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'prove', encode(of_hash, 'hex'));
    UPDATE message SET data = NULL FROM page_session
     WHERE page_session.hash = of_hash AND message.id = page_session.message_id AND message.state <> 'waiting';
    UPDATE page_session SET proved_at = clock_now() WHERE hash = of_hash AND proved_at IS NULL;
END
$$;

CREATE FUNCTION note_page_key(
    of_hash bytea, of_organization bigint, of_event bigint, of_outcome text, proofs bytea
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'note', encode(of_hash, 'hex'), of_organization::text, of_event::text, of_outcome);
    UPDATE page_session
       SET asked_encrypted = NULL, event_id = of_event, outcome = of_outcome,
           organization_id = coalesce(organization_id, of_organization)
     WHERE hash = of_hash;
END
$$;

CREATE OR REPLACE FUNCTION limit_of_attempt(event_id bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (SELECT refusing_limit(redemption.outcome::text, starts_at, expires_at)
              FROM redemption JOIN pool ON pool.id = pool_id JOIN event ON event.id = redemption.event_id
             WHERE event.id = limit_of_attempt.event_id
               AND (session_user <> 'keypool_web' OR sees_everything()
                    OR event.organization_id IN (SELECT visible_organization())));
END
$$;
"""  # noqa: E501  # as schema.sql has it

GRANTED = """
REVOKE ALL ON FUNCTION
    sender_of(bigint, bytea), unsubscribe(bigint, bytea), password_salt(text, text, bytea),
    remember_locked(text, text, bytea), begin_session(text, text, bytea, bytea, text, text, interval, bytea),
    confirm_session(bytea, text, text, bytea), forgive_sign_ins(bytea[], bytea),
    uncount_sign_in(bytea, bytea), page_of_key(text, bytea),
    begin_page_session(bytea, bigint, text, bytea, text, bytea, boolean, boolean, bigint, bigint, bytea),
    prove_page_session(bytea, bytea), note_page_key(bytea, bigint, bigint, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    sender_of(bigint, bytea), unsubscribe(bigint, bytea), password_salt(text, text, bytea),
    remember_locked(text, text, bytea), begin_session(text, text, bytea, bytea, text, text, interval, bytea),
    confirm_session(bytea, text, text, bytea), forgive_sign_ins(bytea[], bytea),
    uncount_sign_in(bytea, bytea), page_of_key(text, bytea),
    begin_page_session(bytea, bigint, text, bytea, text, bytea, boolean, boolean, bigint, bigint, bytea),
    prove_page_session(bytea, bytea), note_page_key(bytea, bigint, bigint, text, bytea) TO keypool_web;
"""
