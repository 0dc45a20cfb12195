"""Only the functions that authenticate say whose request the web serves."""

from alembic import op

revision = "0045"
down_revision = "0044"
oldest_code = "0045"  # older code says so itself
changes = {"wall": "the secret that seals is made"}

PERSONS = (
    "pool",
    "distribution",
    "batch",
    "batch_chunk",
    "batch_line",
    "key",
    "key_replacement",
    "token",
    "answer",
    "console_user",
    "console_session",
    "source_secret",
    "endpoint",
    "endpoint_secret",
    "delivery",
    "invoice",
    "invoice_line",
    "invoice_share",
    "invoice_tax",
    "invoice_charge",
    "payment",
    "charge",
    "charge_cancelled_out",
    "tax_rate",
    "history",
    "message",
    "mail_template",
    "report_run",
    "reminder",
    "unsubscribed",
    "identity_provider",
    "identity_domain",
)


def upgrade() -> None:
    op.execute(ENTERED)
    for table in PERSONS:
        op.execute(
            f"CREATE POLICY persons ON {table} AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()))"
        )
    op.execute("""
    CREATE POLICY own_actor ON history AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (actor = (SELECT entered_actor()));
    """)
    op.execute(ENTERING)


ENTERED = r"""
    CREATE TABLE wall (
        secret bytea NOT NULL
    );

    ALTER TABLE wall ENABLE ROW LEVEL SECURITY;
    INSERT INTO wall
    VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));

    CREATE FUNCTION seal_of(words text) RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        RETURN (SELECT encode(sha256(secret || sha256(secret || convert_to(
                    extract(epoch FROM transaction_timestamp())::text || ' ' || words, 'UTF8'))), 'hex')
                  FROM wall);
    END
    $$;

    CREATE FUNCTION enter(as_whom text, organization text, actor text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        words text := as_whom || ' ' || organization || ' ' || actor;
    BEGIN
        RETURN set_config('keypool.entered', seal_of(words) || ' ' || words, true) IS NOT NULL;
    END
    $$;

    CREATE FUNCTION is_sealed(setting text) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        RETURN split_part(setting, ' ', 1) = seal_of(substr(setting, length(split_part(setting, ' ', 1)) + 2));
    END
    $$;

    CREATE OR REPLACE FUNCTION sees_everything() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN split_part(coalesce(current_setting('keypool.entered', true), ''), ' ', 3) = '*'
                THEN is_sealed(current_setting('keypool.entered', true)) ELSE false END;

    CREATE FUNCTION is_persons() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(split_part(current_setting('keypool.entered', true), ' ', 2) = 'person', false);

    CREATE FUNCTION entered_actor() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN regexp_replace(current_setting('keypool.entered', true), '^\S* \S* \S* ', '');

    CREATE FUNCTION entered_organization() RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        setting text := current_setting('keypool.entered', true);
        claimed text := split_part(setting, ' ', 3);
    BEGIN
        RETURN CASE WHEN claimed ~ '^\d{1,18}$' AND is_sealed(setting) THEN claimed::bigint END;
    END
    $$;

    CREATE OR REPLACE FUNCTION visible_organization() RETURNS SETOF bigint
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = entered_organization()
    $$;

    REVOKE ALL ON FUNCTION seal_of(text), enter(text, text, text), is_sealed(text), entered_organization(),
        visible_organization() FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION is_sealed(text), visible_organization() TO keypool_web;
"""
ENTERING = r"""
    CREATE FUNCTION enter_token(token_hash bytea) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT enter('person', coalesce(organization_id::text, '*'), format('token %s (%s)', id, name))
          FROM token
         WHERE hash = token_hash AND revoked_at IS NULL AND (expires_at IS NULL OR clock_now() < expires_at)
    $$;

    CREATE FUNCTION enter_session(session_hash bytea, idle interval) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT enter('person', coalesce(organization_id::text, '*'), 'user ' || email)
          FROM console_session JOIN console_user ON console_user.id = console_session.user_id
         WHERE hash = session_hash AND ended_at IS NULL AND disabled_at IS NULL
           AND clock_now() < ends_at AND last_seen_at > clock_now() - idle
    $$;

    CREATE FUNCTION enter_source(source_id bigint) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT enter('door', organization_id::text, 'source ' || id) FROM source WHERE id = source_id
    $$;

    CREATE FUNCTION enter_page(of_organization bigint) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT enter('door', id::text, 'redeem page') FROM organization
         WHERE id = of_organization AND redeem_page <> 'off'
    $$;

    CREATE FUNCTION decided_events(event_ids bigint[]) RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT id FROM event WHERE id = ANY (event_ids) AND status IN ('settled', 'failed')
    $$;

    CREATE FUNCTION standstill()
    RETURNS TABLE (inbox double precision, deliveries double precision, schedule double precision)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT (SELECT coalesce(extract(epoch FROM clock_now() - min(received_at)), 0)
                  FROM event WHERE is_undecided(status, waits_for)),
               (SELECT coalesce(extract(epoch FROM clock_now() - min(head.due_at)), 0)
                  FROM endpoint CROSS JOIN LATERAL (
                       SELECT delivery.due_at FROM delivery
                        WHERE delivery.endpoint_id = endpoint.id AND delivery.state = 'waiting'
                          AND delivery.due_at <= clock_now()
                        ORDER BY delivery.due_at, delivery.id LIMIT 1) AS head
                 WHERE endpoint.removed_at IS NULL AND coalesce(endpoint.rests_until <= clock_now(), true)),
               (SELECT coalesce(extract(epoch FROM clock_now() - min(last_run_at)), 0) FROM schedule_beat)
    $$;

    CREATE FUNCTION figures() RETURNS TABLE (name text, value double precision)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT 'keypool_events_waiting', count(*) FROM event WHERE is_undecided(status, waits_for)
        UNION ALL
        SELECT 'keypool_events_waiting_oldest_seconds', inbox FROM standstill()
        UNION ALL
        SELECT 'keypool_deliveries_due_oldest_seconds', deliveries FROM standstill()
        UNION ALL
        SELECT 'keypool_schedule_last_run_seconds', schedule FROM standstill()
        UNION ALL
        SELECT 'keypool_events_waiting_for_a_launch', count(*) FROM event WHERE waits_for IS NOT NULL
        UNION ALL
        SELECT 'keypool_events_failed', count(*) FROM event WHERE status = 'failed'
        UNION ALL
        SELECT 'keypool_deliveries_waiting', count(*) FROM delivery WHERE state = 'waiting'
        UNION ALL
        SELECT 'keypool_deliveries_waiting_oldest_seconds',
               coalesce(extract(epoch FROM clock_now() - min(happened_at)), 0)
          FROM delivery WHERE state = 'waiting'
        UNION ALL
        SELECT 'keypool_deliveries_failed', count(*) FROM delivery WHERE state = 'failed'
        UNION ALL
        SELECT 'keypool_batches_unfinished', count(*) FROM batch WHERE state IN ('queued', 'running')
        UNION ALL
        SELECT 'keypool_messages_waiting', count(*) FROM message WHERE state = 'waiting'
        UNION ALL
        SELECT 'keypool_messages_failed', count(*) FROM message WHERE state = 'failed'
        UNION ALL
        SELECT 'keypool_invoices_held_up', count(*)
          FROM invoice JOIN organization ON organization.id = organization_id
         WHERE status = 'draft' AND NOT by_hand AND cardinality(seller_lacks()) > 0
           AND day_start((month + interval '1 month')::date, time_zone) <= clock_now()
        UNION ALL
        SELECT 'keypool_invoices_by_hand', count(*) FROM invoice WHERE status = 'draft' AND by_hand
        UNION ALL
        SELECT 'keypool_assignments_overdue', count(*) FROM assignment
         WHERE is_overdue(status, expires_at, clock_now())
    $$;

    CREATE FUNCTION recent_outcomes(latest bigint) RETURNS TABLE (outcome text, attempts bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
        SELECT outcome::text, count(*)
          FROM (SELECT outcome FROM redemption ORDER BY event_id DESC LIMIT latest) AS recent GROUP BY outcome
    $$;

    REVOKE ALL ON FUNCTION enter_token(bytea), enter_session(bytea, interval), enter_source(bigint),
        enter_page(bigint),
        decided_events(bigint[]), standstill(), figures(), recent_outcomes(bigint) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION enter_token(bytea), enter_session(bytea, interval), enter_source(bigint),
        enter_page(bigint),
        decided_events(bigint[]), standstill(), figures(), recent_outcomes(bigint) TO keypool_web;

    CREATE FUNCTION is_event_of(source_id bigint, organization_id bigint, learner_organization_id bigint)
    RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        RETURN EXISTS (SELECT FROM source WHERE id = is_event_of.source_id
                                            AND source.organization_id = is_event_of.organization_id)
           AND (is_event_of.learner_organization_id IS NULL
                OR EXISTS (SELECT FROM organization_ancestry
                            WHERE ancestor_id = is_event_of.organization_id
                              AND descendant_id = is_event_of.learner_organization_id));
    END
    $$;
    REVOKE ALL ON FUNCTION is_event_of(bigint, bigint, bigint) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION is_event_of(bigint, bigint, bigint) TO keypool_web;
    DROP POLICY leads_to_rows_in_sight ON event;
    CREATE POLICY leads_to_rows_in_sight ON event AS RESTRICTIVE FOR INSERT TO keypool_web
        WITH CHECK (assignment_id IS NULL AND is_event_of(source_id, organization_id, learner_organization_id));
"""
