CREATE OR REPLACE VIEW report.handed_out WITH (security_barrier) AS
SELECT key.id AS key, pool.name AS pool, organization.name AS organization, course.code AS course,
       distribution.distributed_at,
       (distribution.distributed_at AT TIME ZONE organization.time_zone)::date AS day,
       (SELECT min(assignment.redeemed_at) FROM assignment
         WHERE assignment.key_id = key.id AND NOT assignment.undone) AS redeemed_at,
       least(clock_now(), pool.expires_at) AS until, key.state = 'retired' AS retired, key.labels,
       key.id AS key_id, pool.id AS pool_id, pool.organization_id, pool.course_id,
       (SELECT assignment.id FROM assignment
         WHERE assignment.key_id = key.id AND assignment.status <> 'cancelled') AS assignment_id,
       distribution.id AS distribution_id, distribution.recipient, distribution.recipient_name,
       distribution.reference,
       CASE WHEN key.state = 'retired' THEN coalesce(
           least(distribution.recalled_at,
                 (SELECT min(history.at) FROM history
                   WHERE history.thing = 'key' AND history.thing_id = key.id AND history.action = 'key retired')),
           (SELECT max(assignment.cancelled_at) FROM assignment WHERE assignment.key_id = key.id),
           distribution.distributed_at) END AS retired_at,
       CASE WHEN pool.expires_at <= clock_now() THEN pool.expires_at END AS pool_ended_at,
       (key.created_at AT TIME ZONE organization.time_zone)::date AS made_on
  FROM distribution
  JOIN key ON key.distribution_id = distribution.id
  JOIN pool ON pool.id = distribution.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON COLUMN report.handed_out.retired_at IS
    'When the key was retired, by a recall too; where that is not known any more, when it was distributed.';
COMMENT ON COLUMN report.handed_out.pool_ended_at IS 'When the pool''s keys stopped working; null while they do.';
COMMENT ON COLUMN report.handed_out.made_on IS 'The day on which the key was made, in the time zone of the pool''s owner.';

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
       key.labels,
       redemption.organization_id, learner_organization.id AS learner_organization_id,
       redemption.key_id, redemption.assignment_id, pool.course_id,
       (SELECT learner.id FROM learner
         WHERE learner.organization_id = learner_organization.id
           AND learner.email_lower = redemption.learner_email_lower) AS learner_id,
       (SELECT source.id FROM event JOIN source ON source.id = event.source_id
         WHERE event.id = redemption.event_id
           AND source.organization_id IN (SELECT report.visible_organization())) AS source_id,
       CASE WHEN redemption.outcome = 'redeemed' THEN (
           SELECT charge.id FROM charge WHERE charge.assignment_id = redemption.assignment_id
              AND CASE WHEN charge.kind = 'redemption' THEN true END) END AS charge_id,
       CASE WHEN redemption.outcome = 'redeemed' THEN (
           SELECT charge.amount FROM charge WHERE charge.assignment_id = redemption.assignment_id
              AND CASE WHEN charge.kind = 'redemption' THEN true END) END AS price,
       CASE WHEN redemption.outcome = 'redeemed' THEN (
           SELECT charge.currency FROM charge WHERE charge.assignment_id = redemption.assignment_id
              AND CASE WHEN charge.kind = 'redemption' THEN true END) END AS currency,
       distribution.recipient, distribution.recipient_name, distribution.reference,
       (key.created_at AT TIME ZONE organization.time_zone)::date AS key_made_on,
       (SELECT assignment.undone FROM assignment WHERE assignment.id = redemption.assignment_id) AS undone,
       (SELECT gives_access(assignment.status, assignment.expires_at, clock_now())
          FROM assignment WHERE assignment.id = redemption.assignment_id) AS live
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
COMMENT ON COLUMN report.redemption.key_made_on IS
    'The day on which the key was made, in the organization''s time zone.';
COMMENT ON COLUMN report.redemption.undone IS
    'Whether the assignment was undone within 24 hours, so that its key was not spent; null without one.';
COMMENT ON COLUMN report.redemption.live IS 'Whether the assignment''s access goes on now; null without one.';
