"""One time zone database: no abbreviations, days that SQL begins and ends as Python does."""

from alembic import op

revision = "0002"
down_revision = "0001"
oldest_code = "0001"
changes = {"organization.time_zone": "An abbreviation becomes the place that it stands for."}


def upgrade() -> None:
    # The places that abbreviations stand for since tzdata 2024b. Python had them so already: in SQL
    # alone they were fixed offsets.
    op.execute("""
        UPDATE organization SET time_zone = place
          FROM (VALUES ('CET', 'Europe/Brussels'), ('EET', 'Europe/Athens'), ('EST', 'America/Panama'),
                       ('Factory', 'UTC'), ('HST', 'Pacific/Honolulu'), ('MET', 'Europe/Brussels'),
                       ('MST', 'America/Phoenix'), ('WET', 'Europe/Lisbon')) AS moved (name, place)
         WHERE time_zone = moved.name
    """)
    op.execute("""
CREATE OR REPLACE FUNCTION is_time_zone(name text) RETURNS boolean
LANGUAGE plpgsql STABLE STRICT SET timezone = 'UTC' AS $$
BEGIN
    RETURN set_config('timezone', name, true) = name
       AND (name ~ '[a-z]' OR name !~ '[0-9]'
            OR name IN ('CST6CDT', 'EST5EDT', 'GMT+0', 'GMT-0', 'GMT0', 'MST7MDT', 'PST8PDT'))
       AND name NOT IN ('CET', 'EET', 'EST', 'Factory', 'HST', 'MET', 'MST', 'WET');
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END
$$;

CREATE FUNCTION day_start(day date, zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    SELECT CASE WHEN earlier AT TIME ZONE zone = day THEN least(earlier, midnight) ELSE midnight END
      FROM (SELECT midnight, (day - ((midnight - interval '12 hours') AT TIME ZONE zone
                                     - (midnight - interval '12 hours') AT TIME ZONE 'UTC'))
                             AT TIME ZONE 'UTC' AS earlier
              FROM (SELECT day::timestamp AT TIME ZONE zone AS midnight) AS later) AS either);

CREATE FUNCTION last_day(ends_at timestamptz, zone text) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN ((ends_at - interval '1 microsecond') AT TIME ZONE zone)::date;

CREATE OR REPLACE VIEW report.pool WITH (security_barrier) AS
SELECT pool.id, pool.name, organization.name AS organization, course.code AS course,
       pool.starts_at, pool.expires_at, pool.content_availability_days, pool.share_with_children,
       last_day(pool.expires_at, organization.time_zone) AS last_day,
       life.state, figures.issued, figures.distributed, figures.redeemed, figures.retired,
       figures.issued - figures.distributed AS undistributed,
       CASE WHEN life.state IN ('archived', 'expired') THEN figures.issued ELSE 0 END AS breakage
  FROM pool
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 CROSS JOIN LATERAL pool_state(
       course.archived_at, pool.paused_at, pool.starts_at, pool.expires_at, clock_now()) AS life (state)
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(issued), 0)::bigint AS issued, coalesce(sum(distributed), 0)::bigint AS distributed,
              coalesce(sum(redeemed), 0)::bigint AS redeemed, coalesce(sum(retired), 0)::bigint AS retired
         FROM pool_tally WHERE pool_tally.pool_id = pool.id) AS figures
 WHERE pool.organization_id IN (SELECT report.visible_organization());

CREATE OR REPLACE VIEW report.assignment WITH (security_barrier) AS
SELECT assignment.id, organization.name AS organization, course.code AS course, pool.name AS pool,
       (SELECT learner.email FROM learner WHERE learner.id = assignment.learner_id) AS email,
       (SELECT learner.name FROM learner WHERE learner.id = assignment.learner_id) AS name,
       assignment.status::text AS status, assignment.undone,
       gives_access(assignment.status, assignment.expires_at, clock_now()) AS live,
       assignment.redeemed_at, assignment.expires_at,
       (assignment.redeemed_at AT TIME ZONE organization.time_zone)::date AS day,
       last_day(assignment.expires_at, organization.time_zone) AS last_day,
       taken.launches, taken.first_launched_at, taken.completed
  FROM assignment
  JOIN organization ON organization.id = assignment.organization_id
  JOIN course ON course.id = assignment.course_id
  JOIN pool ON pool.id = assignment.pool_id
  LEFT JOIN LATERAL (
       SELECT count(*) AS launches, min(launch.launched_at) AS first_launched_at,
              coalesce(bool_or(launch.completed), false) AS completed
         FROM launch WHERE launch.assignment_id = assignment.id AND launch.outcome = 'launched')
       AS taken ON true
 WHERE (assignment.organization_id IN (SELECT report.visible_organization())) IS TRUE;
    """)
