"""Labels: a few words that a key carries, for filters, exports and reports (K12)."""

from alembic import op

revision = "0016"
down_revision = "0015"
oldest_code = "0001"


def upgrade() -> None:
    op.execute(r"""
CREATE FUNCTION are_labels(labels text[]) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_ndims(labels) IS NOT DISTINCT FROM 1 AND cardinality(labels) <= 10
   AND (SELECT bool_and(label ~ '^[^\s,;|]([^,;|]*[^\s,;|])?$' AND length(label) <= 50)
               AND count(DISTINCT label) = count(*)
          FROM unnest(labels) AS label);

CREATE FUNCTION labels_together(labels text[], more text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT array_agg(label ORDER BY nth)
          FROM (SELECT label, min(nth) AS nth FROM unnest(labels || more) WITH ORDINALITY AS given (label, nth)
                 GROUP BY label) AS once);
    """)
    # Checked by 0017: no row has a label yet, and the table may be large.
    op.execute("""
ALTER TABLE batch
    ADD COLUMN labels text[],
    ADD CONSTRAINT batch_labels_are_a_few_words CHECK (labels IS NULL OR are_labels(labels)) NOT VALID;
ALTER TABLE batch_chunk ADD COLUMN labels text[];
ALTER TABLE key
    ADD COLUMN labels text[],
    ADD CONSTRAINT key_labels_are_a_few_words CHECK (labels IS NULL OR are_labels(labels)) NOT VALID;
COMMENT ON CONSTRAINT key_labels_are_a_few_words ON key
    IS 'invalid_input(labels): A key has up to 10 labels.';

CREATE TABLE label_tally (
    pool_id     bigint NOT NULL REFERENCES pool ON DELETE RESTRICT,
    label       text   NOT NULL,
    issued      bigint NOT NULL,
    distributed bigint NOT NULL,
    redeemed    bigint NOT NULL,
    retired     bigint NOT NULL
);
CREATE INDEX label_tally_by_pool ON label_tally (pool_id, label);
ALTER TABLE label_tally ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON label_tally TO keypool_web
    USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
GRANT SELECT ON label_tally TO keypool_web;
    """)
    op.execute("""
CREATE OR REPLACE FUNCTION tally_added_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT pool_id, batch_id FROM added WHERE batch_id IS NOT NULL) AS made
                LEFT JOIN batch ON batch.id = made.batch_id AND batch.pool_id = made.pool_id
                WHERE batch.id IS NULL) THEN
        RAISE EXCEPTION 'a key''s batch is one of its pool''s'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'key_is_made_by_a_batch_of_its_pool';
    END IF;
    WITH counted AS (
        SELECT pool_id, distribution_id, date_bin('15 minutes', created_at, '2000-01-01') AS made_at,
               count(*) AS given,
               count(*) FILTER (WHERE state = 'issued') AS issued,
               count(*) FILTER (WHERE state = 'redeemed') AS redeemed,
               count(*) FILTER (WHERE state = 'retired') AS retired
          FROM added GROUP BY 1, 2, 3),
    grown AS (
        INSERT INTO pool_growth (pool_id, made_at, keys)
        SELECT pool_id, made_at, sum(given) FROM counted GROUP BY 1, 2)
    INSERT INTO pool_tally (pool_id, issued, distributed, redeemed, retired,
                            distribution_ids, their_given, their_redeemed, their_retired)
    SELECT pool_id, sum(issued), coalesce(sum(issued) FILTER (WHERE distribution_id IS NOT NULL), 0),
           sum(redeemed), sum(retired),
           array_agg(distribution_id) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(given) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(redeemed) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(retired) FILTER (WHERE distribution_id IS NOT NULL)
      FROM counted GROUP BY pool_id;
    IF EXISTS (SELECT FROM added WHERE labels IS NOT NULL) THEN
        INSERT INTO label_tally (pool_id, label, issued, distributed, redeemed, retired)
        SELECT pool_id, label, count(*) FILTER (WHERE state = 'issued'),
               count(*) FILTER (WHERE state = 'issued' AND distribution_id IS NOT NULL),
               count(*) FILTER (WHERE state = 'redeemed'), count(*) FILTER (WHERE state = 'retired')
          FROM added, unnest(labels) AS label GROUP BY pool_id, label;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION tally_changed_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO pool_tally (pool_id, issued, distributed, redeemed, retired,
                            distribution_ids, their_given, their_redeemed, their_retired)
    SELECT pool_id, sum(issued), coalesce(sum(issued) FILTER (WHERE distribution_id IS NOT NULL), 0),
           sum(redeemed), sum(retired),
           array_agg(distribution_id) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(given) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(redeemed) FILTER (WHERE distribution_id IS NOT NULL),
           array_agg(retired) FILTER (WHERE distribution_id IS NOT NULL)
      FROM (SELECT pool_id, distribution_id, sum(weight) AS given,
                   coalesce(sum(weight) FILTER (WHERE state = 'issued'), 0) AS issued,
                   coalesce(sum(weight) FILTER (WHERE state = 'redeemed'), 0) AS redeemed,
                   coalesce(sum(weight) FILTER (WHERE state = 'retired'), 0) AS retired
              FROM (SELECT pool_id, state, distribution_id, 1 AS weight FROM after
                    UNION ALL
                    SELECT pool_id, state, distribution_id, -1 FROM before) AS change
             GROUP BY pool_id, distribution_id) AS changed
     GROUP BY pool_id;
    IF EXISTS (SELECT FROM after WHERE labels IS NOT NULL)
       OR EXISTS (SELECT FROM before WHERE labels IS NOT NULL) THEN
        INSERT INTO label_tally (pool_id, label, issued, distributed, redeemed, retired)
        SELECT pool_id, label, coalesce(sum(weight) FILTER (WHERE state = 'issued'), 0),
               coalesce(sum(weight) FILTER (WHERE state = 'issued' AND distribution_id IS NOT NULL), 0),
               coalesce(sum(weight) FILTER (WHERE state = 'redeemed'), 0),
               coalesce(sum(weight) FILTER (WHERE state = 'retired'), 0)
          FROM (SELECT pool_id, state, distribution_id, labels, 1 AS weight FROM after
                UNION ALL
                SELECT pool_id, state, distribution_id, labels, -1 FROM before) AS change,
               unnest(labels) AS label
         GROUP BY pool_id, label;
    END IF;
    RETURN NULL;
END
$$;
    """)
    op.execute("""
CREATE OR REPLACE VIEW report.handed_out WITH (security_barrier) AS
SELECT key.id AS key, pool.name AS pool, organization.name AS organization, course.code AS course,
       distribution.distributed_at,
       (distribution.distributed_at AT TIME ZONE organization.time_zone)::date AS day,
       (SELECT min(assignment.redeemed_at) FROM assignment
         WHERE assignment.key_id = key.id AND NOT assignment.undone) AS redeemed_at,
       least(clock_now(), pool.expires_at) AS until, key.state = 'retired' AS retired, key.labels
  FROM distribution
  JOIN key ON key.distribution_id = distribution.id
  JOIN pool ON pool.id = distribution.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());

CREATE OR REPLACE VIEW report.redemption WITH (security_barrier) AS
SELECT redemption.event_id AS event, organization.name AS organization,
       learner_organization.name AS learner_organization, pool.id AS pool_id, pool.name AS pool,
       course.code AS course, redemption.outcome::text AS outcome,
       CASE redemption.outcome WHEN 'redeemed' THEN 'redeemed' WHEN 'already_yours' THEN 'repeated'
            ELSE 'refused' END AS answer,
       redemption.received_at,
       (redemption.received_at AT TIME ZONE organization.time_zone)::date AS day,
       key.created_at AS key_created_at, distribution.distributed_at,
       round(extract(epoch FROM redemption.received_at - key.created_at) / 86400, 6)
           AS days_since_creation,
       round(extract(epoch FROM redemption.received_at - distribution.distributed_at) / 86400, 6)
           AS days_since_distribution,
       EXISTS (SELECT FROM launch WHERE launch.assignment_id = redemption.assignment_id
                                    AND launch.outcome = 'launched') AS launched,
       EXISTS (SELECT FROM launch WHERE launch.assignment_id = redemption.assignment_id
                                    AND launch.completed) AS completed,
       key.labels
  FROM redemption
  JOIN organization ON organization.id = redemption.organization_id
  LEFT JOIN organization AS learner_organization
         ON learner_organization.id = redemption.learner_organization_id
        AND learner_organization.id IN (SELECT report.visible_organization())
  LEFT JOIN key ON key.id = redemption.key_id
  LEFT JOIN distribution ON distribution.id = key.distribution_id
  LEFT JOIN pool ON pool.id = redemption.pool_id
  LEFT JOIN course ON course.id = pool.course_id
 WHERE (redemption.organization_id IN (SELECT report.visible_organization())) IS TRUE;

CREATE OR REPLACE VIEW report.assignment WITH (security_barrier) AS
SELECT assignment.id, organization.name AS organization, course.code AS course, pool.name AS pool,
       (SELECT learner.email FROM learner WHERE learner.id = assignment.learner_id) AS email,
       (SELECT learner.name FROM learner WHERE learner.id = assignment.learner_id) AS name,
       assignment.status::text AS status, assignment.undone,
       gives_access(assignment.status, assignment.expires_at, clock_now()) AS live,
       assignment.redeemed_at, assignment.expires_at,
       (assignment.redeemed_at AT TIME ZONE organization.time_zone)::date AS day,
       last_day(assignment.expires_at, organization.time_zone) AS last_day,
       taken.launches, taken.first_launched_at, taken.completed,
       (SELECT key.labels FROM key WHERE key.id = assignment.key_id) AS labels
  FROM assignment
  JOIN organization ON organization.id = assignment.organization_id
  JOIN course ON course.id = assignment.course_id
  JOIN pool ON pool.id = assignment.pool_id
  LEFT JOIN LATERAL (
       SELECT count(*) AS launches, min(launch.launched_at) AS first_launched_at,
              coalesce(bool_or(launch.completed), false) AS completed
         FROM launch WHERE launch.assignment_id = assignment.id AND launch.outcome = 'launched') AS taken
       ON true
 WHERE (assignment.organization_id IN (SELECT report.visible_organization())) IS TRUE;

CREATE OR REPLACE VIEW report.launch WITH (security_barrier) AS
SELECT launch.id, launch.assignment_id, organization.name AS organization,
       (SELECT course.code FROM assignment JOIN course ON course.id = assignment.course_id
         WHERE assignment.id = launch.assignment_id) AS course,
       launch.launched_at, there.launched::date AS day,
       extract(isodow FROM there.launched)::int AS weekday, extract(hour FROM there.launched)::int AS hour,
       round(extract(epoch FROM launch.ended_at - launch.launched_at) / 3600, 6) AS hours,
       launch.completed,
       (SELECT assignment.redeemed_at FROM assignment
         WHERE assignment.id = launch.assignment_id) AS redeemed_at,
       (SELECT key.labels FROM assignment JOIN key ON key.id = assignment.key_id
         WHERE assignment.id = launch.assignment_id) AS labels
  FROM launch
  JOIN organization ON organization.id = launch.organization_id
 CROSS JOIN LATERAL (SELECT launch.launched_at AT TIME ZONE organization.time_zone AS launched) AS there
 WHERE launch.outcome = 'launched'
   AND (launch.organization_id IN (SELECT report.visible_organization())) IS TRUE;

CREATE OR REPLACE VIEW report.charge WITH (security_barrier) AS
SELECT charge.id, charge.kind::text AS kind, organization.name AS organization,
       learner_organization.name AS learner_organization, course.code AS course, pool.name AS pool,
       charge.assignment_id, charge.amount, charge.currency, charge.occurred_at,
       there.occurred::date AS day, date_trunc('month', there.occurred)::date AS service_month,
       charge.unbilled,
       (SELECT invoice_charge.invoice_id FROM invoice_charge
         WHERE invoice_charge.charge_id = charge.id AND invoice_charge.released_at IS NULL) AS invoice_id,
       (SELECT key.labels FROM assignment JOIN key ON key.id = assignment.key_id
         WHERE assignment.id = charge.assignment_id) AS labels
  FROM charge
  JOIN organization ON organization.id = charge.organization_id
  JOIN organization AS learner_organization ON learner_organization.id = charge.learner_organization_id
  JOIN course ON course.id = charge.course_id
  JOIN pool ON pool.id = charge.pool_id
 CROSS JOIN LATERAL (SELECT charge.occurred_at AT TIME ZONE organization.time_zone AS occurred) AS there
 WHERE (charge.organization_id IN (SELECT report.visible_organization())) IS TRUE;

CREATE VIEW report.pool_label WITH (security_barrier) AS
SELECT pool.id AS pool_id, pool.name AS pool, organization.name AS organization, course.code AS course,
       figures.*
  FROM pool
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 CROSS JOIN LATERAL (
       SELECT label, sum(issued)::bigint AS issued, sum(distributed)::bigint AS distributed,
              sum(redeemed)::bigint AS redeemed, sum(retired)::bigint AS retired
         FROM label_tally WHERE label_tally.pool_id = pool.id
        GROUP BY label HAVING sum(issued + redeemed + retired) > 0) AS figures
 WHERE pool.organization_id IN (SELECT report.visible_organization());
GRANT SELECT ON report.pool_label TO keypool_analyst, keypool_web;
    """)
