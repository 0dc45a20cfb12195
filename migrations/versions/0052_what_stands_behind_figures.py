"""The database knows when each job last succeeded, what the last audit found, and who holds a lock."""

from alembic import op

revision = "0052"
down_revision = "0051"
oldest_code = "0051"


def upgrade() -> None:
    """Add tables and a function that older code does not read."""
    op.execute("""
CREATE TABLE schedule_job (
    name         text        PRIMARY KEY,
    every        interval    NOT NULL,
    planned_at   timestamptz NOT NULL DEFAULT clock_now(),
    succeeded_at timestamptz
);

CREATE TABLE audit_result (
    id       bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ended_at timestamptz      NOT NULL DEFAULT clock_now(),
    seconds  double precision NOT NULL,
    failed   text[]           NOT NULL
);

ALTER TABLE schedule_job ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_result ENABLE ROW LEVEL SECURITY;

-- What stands behind the system's figures: jobs, locks, connections, the audit, delays, each by a label.
-- A lock's holder has its row's transaction id; other logins' transactions have no start that we may read,
-- so the longest wait for such a holder counts. Delays are those of
-- the latest thousand, as far as they ended within fifteen minutes.
CREATE FUNCTION labelled_figures() RETURNS TABLE (name text, label text, value double precision)
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
        SELECT failed, seconds, extract(epoch FROM clock_now() - ended_at) AS age
          FROM audit_result ORDER BY id DESC LIMIT 1),
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
    SELECT 'keypool_audit_ok', '', (failed = '{}')::int FROM latest_audit
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

REVOKE ALL ON FUNCTION labelled_figures() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION labelled_figures() TO keypool_web;
    """)
