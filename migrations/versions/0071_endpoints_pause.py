"""Endpoints can be paused, a delivery's id counts nothing, and its attempts are kept with their answers."""

from alembic import op

revision = "0071"
down_revision = "0070"
oldest_code = "0055"


def upgrade() -> None:
    """Add columns that older code leaves empty: it posts on to a paused endpoint, under ids that count.

    What was written before keeps the id that its endpoint may have seen: it has no identity.
    """
    op.execute("""
ALTER TABLE endpoint ADD COLUMN paused_at timestamptz, ADD COLUMN paused_because text;
ALTER TABLE endpoint ADD CONSTRAINT endpoint_reason_is_of_a_pause
    CHECK (paused_because IS NULL OR paused_at IS NOT NULL);
ALTER TABLE delivery ADD COLUMN identity uuid, ADD COLUMN answers jsonb;
ALTER TABLE delivery ALTER COLUMN identity SET DEFAULT gen_random_uuid();

CREATE OR REPLACE FUNCTION standstill()
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
             WHERE endpoint.removed_at IS NULL AND endpoint.paused_at IS NULL
               AND coalesce(endpoint.rests_until <= clock_now(), true)),
           (SELECT coalesce(extract(epoch FROM clock_now() - min(last_run_at)), 0) FROM schedule_beat)
$$;
""")
