"""An audit is worked in slices, and what it found is kept."""

from alembic import op

revision = "0053"
down_revision = "0052"
oldest_code = "0053"


def upgrade() -> None:
    """Add the table of audits, and have the figures read it instead of the table of results."""
    op.execute("""
    CREATE TABLE audit_run (
        id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        since    timestamptz,
        begun_at timestamptz NOT NULL DEFAULT clock_now(),
        ended_at timestamptz,
        checked  bigint      NOT NULL DEFAULT 0,
        faults   bigint      NOT NULL DEFAULT 0,
        checks   jsonb       NOT NULL DEFAULT '{}'
    );
    ALTER TABLE audit_run ENABLE ROW LEVEL SECURITY;
    CREATE POLICY operating ON audit_run FOR SELECT TO keypool_web USING ((SELECT sees_everything()));
    GRANT SELECT ON audit_run TO keypool_web;
    INSERT INTO audit_run (begun_at, ended_at, faults)
    SELECT ended_at - make_interval(secs => seconds), ended_at, cardinality(failed)
      FROM audit_result ORDER BY id;
    DROP TABLE audit_result;
    """)
    op.execute("""
CREATE OR REPLACE FUNCTION labelled_figures() RETURNS TABLE (name text, label text, value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH job AS (
        SELECT schedule_job.name, extract(epoch FROM every) AS every,
               extract(epoch FROM clock_now() - coalesce(succeeded_at, planned_at)) AS age FROM schedule_job),
    locks AS MATERIALIZED (
        SELECT pid, transactionid AS xid, granted, waitstart FROM pg_locks WHERE locktype = 'transactionid'),
    held AS (
        SELECT taken.name, holder.pid, extract(epoch FROM clock_timestamp() - coalesce(
                   (SELECT xact_start FROM pg_stat_activity AS holding WHERE holding.pid = holder.pid),
                   (SELECT min(waitstart) FROM locks AS waiting WHERE waiting.xid = holder.xid))) AS age
          FROM (SELECT lock.name, xmax AS xid FROM lock
                UNION ALL
                SELECT 'tree', xmax FROM tree_lock) AS taken
          LEFT JOIN locks AS holder ON holder.xid = taken.xid AND holder.granted),
    lock_age AS (
        SELECT DISTINCT ON (held.name) held.name, coalesce(age, 0) AS age, coalesce(pid, 0) AS pid
          FROM held ORDER BY held.name, age DESC NULLS LAST),
    latest_audit AS (
        SELECT faults, extract(epoch FROM ended_at - begun_at) AS seconds,
               extract(epoch FROM clock_now() - ended_at) AS age
          FROM audit_run WHERE ended_at IS NOT NULL AND since IS NULL ORDER BY id DESC LIMIT 1),
    settled AS (
        SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY seconds) AS seconds
          FROM (SELECT extract(epoch FROM settled_at - event.received_at)::float8 AS seconds
                  FROM (SELECT event_id FROM redemption ORDER BY event_id DESC LIMIT 1000) AS latest
                  JOIN event ON event.id = event_id
                 WHERE settled_at > clock_now() - interval '15 minutes') AS delay),
    delivered AS (
        SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY seconds) AS seconds
          FROM (SELECT extract(epoch FROM ended_at - happened_at)::float8 AS seconds
                  FROM (SELECT id FROM delivery ORDER BY id DESC LIMIT 1000) AS latest
                  JOIN delivery USING (id)
                 WHERE state = 'delivered' AND ended_at > clock_now() - interval '15 minutes') AS delay)
    SELECT 'keypool_job_interval_seconds', job.name, every FROM job
    UNION ALL
    SELECT 'keypool_job_last_success_seconds', job.name, age FROM job
    UNION ALL
    SELECT 'keypool_lock_held_seconds', lock_age.name, age FROM lock_age
    UNION ALL
    SELECT 'keypool_lock_holder_pid', lock_age.name, pid FROM lock_age
    UNION ALL
    SELECT 'keypool_connections',
           CASE WHEN usename = current_user THEN 'owner'
                WHEN usename = 'keypool_web' THEN 'web'
                WHEN usename = 'keypool_analyst' OR starts_with(usename, 'keypool_report_') THEN 'analyst'
                ELSE 'other' END, count(*)
      FROM pg_stat_activity  -- of other logins it tells no type
     WHERE datid IS NOT NULL AND usename IS NOT NULL AND backend_type IS DISTINCT FROM 'parallel worker'
     GROUP BY 2
    UNION ALL
    SELECT 'keypool_connections_limit', '', current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0)
    UNION ALL
    SELECT 'keypool_audit_ok', '', (faults = 0)::int FROM latest_audit
    UNION ALL
    SELECT 'keypool_audit_last_result_seconds', '', age FROM latest_audit
    UNION ALL
    SELECT 'keypool_audit_seconds', '', seconds FROM latest_audit
    UNION ALL
    SELECT 'keypool_endpoints_failing', '', count(*) FROM endpoint WHERE removed_at IS NULL AND failures > 0
    UNION ALL
    SELECT 'keypool_settling_delay_seconds', quantile::text, quantiles.seconds
      FROM settled, unnest(ARRAY[0.5, 0.95, 0.99], settled.seconds) AS quantiles (quantile, seconds)
     WHERE quantiles.seconds IS NOT NULL
    UNION ALL
    SELECT 'keypool_delivery_delay_seconds', quantile::text, quantiles.seconds
      FROM delivered, unnest(ARRAY[0.5, 0.95, 0.99], delivered.seconds) AS quantiles (quantile, seconds)
     WHERE quantiles.seconds IS NOT NULL
$$;
    """)
