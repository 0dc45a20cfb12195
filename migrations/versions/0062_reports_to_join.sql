CREATE OR REPLACE VIEW report.organization WITH (security_barrier) AS
SELECT organization.id, organization.name, parent.name AS parent, organization.time_zone,
       organization.currency, organization.locale,
       organization.id AS organization_id, organization.parent_id
  FROM organization LEFT JOIN organization AS parent ON parent.id = organization.parent_id
 WHERE organization.id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.organization IS
    'Every organization in sight.';
COMMENT ON COLUMN report.organization.id IS 'The organization''s id.';
COMMENT ON COLUMN report.organization.name IS 'Its name, unique in the system.';
COMMENT ON COLUMN report.organization.parent IS 'The name of its parent; null without one.';
COMMENT ON COLUMN report.organization.time_zone IS 'The time zone of its days and months.';
COMMENT ON COLUMN report.organization.currency IS 'The currency in which it is invoiced by default.';
COMMENT ON COLUMN report.organization.locale IS 'The language and region of its reports and mails.';
COMMENT ON COLUMN report.organization.organization_id IS 'The organization''s id; the same as id.';
COMMENT ON COLUMN report.organization.parent_id IS 'The parent''s organization_id; null without one.';

CREATE OR REPLACE VIEW report.family WITH (security_barrier) AS
SELECT organization.name AS organization, member.name AS member,
       organization.id AS organization_id, member.id AS member_id
  FROM organization_ancestry
  JOIN organization ON organization.id = ancestor_id
  JOIN organization AS member ON member.id = descendant_id
 WHERE ancestor_id IN (SELECT report.visible_organization())
   AND descendant_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.family IS
    'Every organization in sight with each of its descendants in sight, itself too: what a question about one organization is about.';
COMMENT ON COLUMN report.family.organization IS 'The name of the organization.';
COMMENT ON COLUMN report.family.member IS 'The name of the organization or of a descendant.';
COMMENT ON COLUMN report.family.organization_id IS 'The organization''s id.';
COMMENT ON COLUMN report.family.member_id IS 'The member''s organization_id.';

-- The price in force now, for an organization in sight, or the list price where none is named. The views
-- ask a function, because one that analysts may not call would run with their rights.
CREATE FUNCTION report.price_now(of_course bigint, for_organization bigint)
RETURNS TABLE (amount numeric, currency char(3))
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT price.amount, price.currency FROM price_in_force(of_course, for_organization, clock_now()) AS price
     WHERE for_organization IS NULL OR for_organization IN (SELECT report.visible_organization())
$$;

CREATE OR REPLACE VIEW report.course WITH (security_barrier) AS
SELECT course.id AS course_id, course.code AS course, course.title, course.archived_at IS NOT NULL AS archived,
       course.archived_at, course.created_at,
       (SELECT amount FROM report.price_now(course.id, NULL)) AS price,
       (SELECT currency FROM report.price_now(course.id, NULL)) AS currency
  FROM course;
COMMENT ON VIEW report.course IS
    'Every course, archived ones too.';
COMMENT ON COLUMN report.course.course_id IS 'The course''s id.';
COMMENT ON COLUMN report.course.course IS 'The course''s code, unique in the system.';
COMMENT ON COLUMN report.course.title IS 'Its title.';
COMMENT ON COLUMN report.course.archived IS 'Whether it is archived: then no key of its pools can be redeemed.';
COMMENT ON COLUMN report.course.archived_at IS 'When it was archived; null if it was not.';
COMMENT ON COLUMN report.course.created_at IS 'When it was added.';
COMMENT ON COLUMN report.course.price IS 'The list price in force now; null before the first.';
COMMENT ON COLUMN report.course.currency IS 'The list price''s currency.';

CREATE OR REPLACE VIEW report.price WITH (security_barrier) AS
SELECT price.id AS price_id, course.code AS course, organization.name AS organization, price.amount AS price,
       price.currency, price.valid_from, price.valid_until, price.course_id, price.organization_id
  FROM price
  JOIN course ON course.id = price.course_id
  LEFT JOIN organization ON organization.id = price.organization_id
 WHERE (price.valid_until > price.valid_from) IS NOT FALSE
   AND (price.organization_id IS NULL OR price.organization_id IN (SELECT report.visible_organization()));
COMMENT ON VIEW report.price IS
    'One row a price of a course: list prices, and the own prices of organizations in sight. Prices that were withdrawn before they began are left out.';
COMMENT ON COLUMN report.price.price_id IS 'The price''s id.';
COMMENT ON COLUMN report.price.course IS 'The course''s code.';
COMMENT ON COLUMN report.price.organization IS
    'Whose own price it is, for itself and its descendants; null for a list price.';
COMMENT ON COLUMN report.price.price IS 'The price of one redemption.';
COMMENT ON COLUMN report.price.currency IS 'The price''s currency.';
COMMENT ON COLUMN report.price.valid_from IS 'From when it holds, until a later one begins or it is withdrawn.';
COMMENT ON COLUMN report.price.valid_until IS 'When it was withdrawn; null if it was not.';
COMMENT ON COLUMN report.price.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.price.organization_id IS 'The organization''s id; null for a list price.';

CREATE OR REPLACE VIEW report.pool WITH (security_barrier) AS
SELECT pool.id, pool.name, organization.name AS organization, course.code AS course,
       pool.starts_at, pool.expires_at, pool.content_availability_days, pool.share_with_children,
       last_day(pool.expires_at, organization.time_zone) AS last_day,
       life.state, figures.issued, figures.distributed, figures.redeemed, figures.retired,
       figures.issued - figures.distributed AS undistributed,
       CASE WHEN life.state IN ('archived', 'expired') THEN figures.issued ELSE 0 END AS breakage,
       pool.id AS pool_id, pool.organization_id, pool.course_id, course.title AS course_title,
       pool.created_at,
       (SELECT amount FROM report.price_now(pool.course_id, pool.organization_id)) AS price,
       (SELECT currency FROM report.price_now(pool.course_id, pool.organization_id)) AS currency
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
COMMENT ON VIEW report.pool IS
    'One row a pool, with its figures as they are now: issued + redeemed + retired = all its keys.';
COMMENT ON COLUMN report.pool.id IS 'The pool''s id.';
COMMENT ON COLUMN report.pool.name IS 'Its name, unique in its organization.';
COMMENT ON COLUMN report.pool.organization IS 'The pool''s owner, who pays for redemptions.';
COMMENT ON COLUMN report.pool.course IS 'The course''s code.';
COMMENT ON COLUMN report.pool.starts_at IS 'From when its keys can be redeemed.';
COMMENT ON COLUMN report.pool.expires_at IS 'The instant from which they cannot.';
COMMENT ON COLUMN report.pool.content_availability_days IS 'How many times 24 hours access lasts after redemption.';
COMMENT ON COLUMN report.pool.share_with_children IS
    'Whether learners of the owner''s descendants may redeem its keys.';
COMMENT ON COLUMN report.pool.last_day IS 'The last day on which its keys work, in its organization''s time zone.';
COMMENT ON COLUMN report.pool.state IS 'The first that holds of archived, paused, scheduled, expired, active.';
COMMENT ON COLUMN report.pool.issued IS 'Keys that are neither redeemed nor retired.';
COMMENT ON COLUMN report.pool.distributed IS 'Issued keys that were distributed.';
COMMENT ON COLUMN report.pool.redeemed IS 'Redeemed keys.';
COMMENT ON COLUMN report.pool.retired IS 'Retired keys.';
COMMENT ON COLUMN report.pool.undistributed IS 'Issued keys that were not distributed.';
COMMENT ON COLUMN report.pool.breakage IS
    'Issued keys that can no longer be redeemed: the pool expired, or its course is archived.';
COMMENT ON COLUMN report.pool.pool_id IS 'The pool''s id; the same as id.';
COMMENT ON COLUMN report.pool.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.pool.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.pool.course_title IS 'The course''s title.';
COMMENT ON COLUMN report.pool.created_at IS 'When the pool was made.';
COMMENT ON COLUMN report.pool.price IS
    'What its owner pays for a redemption at the price in force now; null where there is none.';
COMMENT ON COLUMN report.pool.currency IS 'The price''s currency.';

CREATE OR REPLACE VIEW report.pool_label WITH (security_barrier) AS
SELECT pool.id AS pool_id, pool.name AS pool, organization.name AS organization, course.code AS course,
       figures.*, pool.organization_id, pool.course_id
  FROM pool
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 CROSS JOIN LATERAL (
       SELECT label, sum(issued)::bigint AS issued, sum(distributed)::bigint AS distributed,
              sum(redeemed)::bigint AS redeemed, sum(retired)::bigint AS retired
         FROM label_tally WHERE label_tally.pool_id = pool.id
        GROUP BY label HAVING sum(issued + redeemed + retired) > 0) AS figures
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.pool_label IS
    'One row a pool and a label that some of its keys carry, with the figures of those keys as they are now. A key with two labels counts under both.';
COMMENT ON COLUMN report.pool_label.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.pool_label.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.pool_label.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.pool_label.course IS 'The course''s code.';
COMMENT ON COLUMN report.pool_label.label IS 'The label.';
COMMENT ON COLUMN report.pool_label.issued IS 'Keys with the label that are neither redeemed nor retired.';
COMMENT ON COLUMN report.pool_label.distributed IS 'Issued keys with the label that were distributed.';
COMMENT ON COLUMN report.pool_label.redeemed IS 'Redeemed keys with the label.';
COMMENT ON COLUMN report.pool_label.retired IS 'Retired keys with the label.';
COMMENT ON COLUMN report.pool_label.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.pool_label.course_id IS 'The course''s id, as in report.course.';

CREATE OR REPLACE VIEW report.growth WITH (security_barrier) AS
SELECT pool.name AS pool, organization.name AS organization, course.code AS course,
       pool_growth.made_at, (pool_growth.made_at AT TIME ZONE organization.time_zone)::date AS day,
       pool_growth.keys, pool.id AS pool_id, pool.organization_id, pool.course_id
  FROM pool_growth
  JOIN pool ON pool.id = pool_growth.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.growth IS
    'One row a quarter of an hour in which keys were added to a pool.';
COMMENT ON COLUMN report.growth.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.growth.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.growth.course IS 'The course''s code.';
COMMENT ON COLUMN report.growth.made_at IS 'When the keys were added.';
COMMENT ON COLUMN report.growth.day IS 'That day, in the time zone of the pool''s owner.';
COMMENT ON COLUMN report.growth.keys IS 'How many keys were added.';
COMMENT ON COLUMN report.growth.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.growth.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.growth.course_id IS 'The course''s id, as in report.course.';

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
       distribution.reference
  FROM distribution
  JOIN key ON key.distribution_id = distribution.id
  JOIN pool ON pool.id = distribution.pool_id
  JOIN organization ON organization.id = pool.organization_id
  JOIN course ON course.id = pool.course_id
 WHERE pool.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.handed_out IS
    'One row a key that was distributed. A key that replaced another is in the place of that one.';
COMMENT ON COLUMN report.handed_out.key IS 'The key''s id; the same as key_id.';
COMMENT ON COLUMN report.handed_out.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.handed_out.organization IS 'The pool''s owner.';
COMMENT ON COLUMN report.handed_out.course IS 'The course''s code.';
COMMENT ON COLUMN report.handed_out.distributed_at IS 'When the key was distributed.';
COMMENT ON COLUMN report.handed_out.day IS 'That day, in the time zone of the pool''s owner.';
COMMENT ON COLUMN report.handed_out.redeemed_at IS
    'When the key was redeemed; null if it was not (or that was undone) until now or the pool''s end.';
COMMENT ON COLUMN report.handed_out.until IS 'Until when it was observed: now, or the pool''s end.';
COMMENT ON COLUMN report.handed_out.retired IS 'Whether the key is retired: it can be redeemed no more.';
COMMENT ON COLUMN report.handed_out.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.handed_out.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.handed_out.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.handed_out.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.handed_out.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.handed_out.assignment_id IS
    'The assignment that its redemption made, as in report.assignment; null without one that is not cancelled.';
COMMENT ON COLUMN report.handed_out.distribution_id IS 'The distribution''s id.';
COMMENT ON COLUMN report.handed_out.recipient IS 'Whom the key was distributed to: an e-mail address or a name.';
COMMENT ON COLUMN report.handed_out.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.handed_out.reference IS
    'The reference of the distribution, such as an order number; empty without one.';

CREATE OR REPLACE VIEW report.learner WITH (security_barrier) AS
SELECT learner.id AS learner_id, organization.name AS organization, learner.organization_id,
       learner.email, learner.name, learner.created_at, learner.erased_at IS NOT NULL AS erased,
       learner.duplicate_of AS duplicate_of_learner_id
  FROM learner JOIN organization ON organization.id = learner.organization_id
 WHERE learner.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.learner IS
    'One row a learner. An erased one has a pseudonym in place of the address, and no name.';
COMMENT ON COLUMN report.learner.learner_id IS 'The learner''s id.';
COMMENT ON COLUMN report.learner.organization IS 'The organization in which the learner is known.';
COMMENT ON COLUMN report.learner.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.learner.email IS 'The learner''s address; a pseudonym once erased.';
COMMENT ON COLUMN report.learner.name IS 'The learner''s name; empty if unknown or erased.';
COMMENT ON COLUMN report.learner.created_at IS 'When the learner was first met.';
COMMENT ON COLUMN report.learner.erased IS 'Whether the learner was erased.';
COMMENT ON COLUMN report.learner.duplicate_of_learner_id IS
    'The learner_id of another learner of the organization who is the same person; null if there is none.';

CREATE OR REPLACE VIEW report.source WITH (security_barrier) AS
SELECT source.id AS source_id, source.name, source.kind::text AS kind, organization.name AS organization,
       source.organization_id, source.created_at
  FROM source JOIN organization ON organization.id = source.organization_id
 WHERE source.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.source IS
    'One row a source: an external system that posts webhooks, or an organization''s redeem page.';
COMMENT ON COLUMN report.source.source_id IS 'The source''s id.';
COMMENT ON COLUMN report.source.name IS 'Its name, unique in its organization.';
COMMENT ON COLUMN report.source.kind IS 'system, or page for a redeem page.';
COMMENT ON COLUMN report.source.organization IS 'The organization that it may post for, with its descendants.';
COMMENT ON COLUMN report.source.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.source.created_at IS 'When it was added.';

-- Of the large tables a period is read, found by its time: IS TRUE keeps the planner from reading, for
-- each organization, all that it ever had.

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
       distribution.recipient, distribution.recipient_name, distribution.reference
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
COMMENT ON VIEW report.redemption IS
    'One row an attempt to redeem a key, refused ones too, of the organization that sees it: the pool''s owner; where the key is unknown, the source''s organization.';
COMMENT ON COLUMN report.redemption.event IS 'The id of the event that requested it.';
COMMENT ON COLUMN report.redemption.organization IS
    'The pool''s owner; where the key is unknown, the source''s organization.';
COMMENT ON COLUMN report.redemption.learner_organization IS 'The learner''s organization; null for a stranger.';
COMMENT ON COLUMN report.redemption.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.redemption.pool IS 'The pool''s name; null where the key is unknown.';
COMMENT ON COLUMN report.redemption.course IS 'The course''s code; null where the key is unknown.';
COMMENT ON COLUMN report.redemption.outcome IS
    'The outcome''s code, such as redeemed, already_yours or pool_expired: for refusals the reason.';
COMMENT ON COLUMN report.redemption.answer IS
    'What the outcome means for figures: redeemed (it spent a key), repeated (the learner had redeemed that key before) or refused.';
COMMENT ON COLUMN report.redemption.received_at IS
    'When the event was received, which is also when the key counts as redeemed.';
COMMENT ON COLUMN report.redemption.day IS 'That day, in the organization''s time zone.';
COMMENT ON COLUMN report.redemption.key_created_at IS 'When the key was made.';
COMMENT ON COLUMN report.redemption.distributed_at IS 'When the key was distributed; null if it was not.';
COMMENT ON COLUMN report.redemption.days_since_creation IS 'Days from the key''s making to the attempt.';
COMMENT ON COLUMN report.redemption.days_since_distribution IS 'Days from the key''s distribution to the attempt.';
COMMENT ON COLUMN report.redemption.launched IS 'Whether training was launched under the assignment, ever since.';
COMMENT ON COLUMN report.redemption.completed IS 'Whether training was completed under the assignment, ever since.';
COMMENT ON COLUMN report.redemption.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.redemption.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.redemption.learner_organization_id IS 'The learner''s organization_id; null for a stranger.';
COMMENT ON COLUMN report.redemption.key_id IS
    'The key''s id; null where the key is unknown. No view shows a key''s code.';
COMMENT ON COLUMN report.redemption.assignment_id IS
    'The assignment that it made or met, as in report.assignment; null without one.';
COMMENT ON COLUMN report.redemption.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.redemption.learner_id IS
    'The learner''s id, as in report.learner; null for a stranger, and for who is not known.';
COMMENT ON COLUMN report.redemption.source_id IS
    'The id of the source that posted it, as in report.source; null if it is not in sight or a person did it.';
COMMENT ON COLUMN report.redemption.charge_id IS
    'The charge for it, as in report.charge; null where nothing was charged.';
COMMENT ON COLUMN report.redemption.price IS 'What was charged for it: the price in force when it was received.';
COMMENT ON COLUMN report.redemption.currency IS 'The price''s currency.';
COMMENT ON COLUMN report.redemption.recipient IS
    'Whom the key was distributed to: an e-mail address or a name. Null if it was not distributed.';
COMMENT ON COLUMN report.redemption.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.redemption.reference IS
    'The reference of the distribution, such as an order number; empty without one.';

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
       (SELECT key.labels FROM key WHERE key.id = assignment.key_id) AS labels,
       assignment.id AS assignment_id, assignment.organization_id, assignment.key_id,
       assignment.pool_id, assignment.course_id, assignment.learner_id,
       (SELECT charge.id FROM charge
         WHERE charge.assignment_id = assignment.id AND CASE WHEN charge.kind = 'redemption' THEN true END
           AND charge.organization_id IN (SELECT report.visible_organization())) AS charge_id,
       (SELECT max(launch.score) FROM launch
         WHERE launch.assignment_id = assignment.id AND launch.outcome = 'launched') AS score,
       assignment.cancel_reason AS reason, assignment.cancelled_at,
       (SELECT distribution.recipient FROM key JOIN distribution ON distribution.id = key.distribution_id
         WHERE key.id = assignment.key_id AND pool.organization_id IN (SELECT report.visible_organization()))
           AS recipient,
       (SELECT distribution.recipient_name FROM key JOIN distribution ON distribution.id = key.distribution_id
         WHERE key.id = assignment.key_id AND pool.organization_id IN (SELECT report.visible_organization()))
           AS recipient_name,
       (SELECT distribution.reference FROM key JOIN distribution ON distribution.id = key.distribution_id
         WHERE key.id = assignment.key_id AND pool.organization_id IN (SELECT report.visible_organization()))
           AS reference
  FROM assignment
  JOIN organization ON organization.id = assignment.organization_id
  JOIN course ON course.id = assignment.course_id
  JOIN pool ON pool.id = assignment.pool_id
  LEFT JOIN LATERAL (
       SELECT count(*) AS launches, min(launch.launched_at) AS first_launched_at,
              coalesce(bool_or(launch.completed), false) AS completed
         FROM launch WHERE launch.assignment_id = assignment.id AND launch.outcome = 'launched') AS taken ON true
 WHERE (assignment.organization_id IN (SELECT report.visible_organization())) IS TRUE;
COMMENT ON VIEW report.assignment IS
    'One row a course assignment, of the learner''s organization. Its launches are those that were let in.';
COMMENT ON COLUMN report.assignment.id IS 'The assignment''s id.';
COMMENT ON COLUMN report.assignment.organization IS 'The learner''s organization.';
COMMENT ON COLUMN report.assignment.course IS 'The course''s code.';
COMMENT ON COLUMN report.assignment.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.assignment.email IS 'The learner''s address; a pseudonym once erased.';
COMMENT ON COLUMN report.assignment.name IS 'The learner''s name; empty if unknown or erased.';
COMMENT ON COLUMN report.assignment.status IS 'active, expired or cancelled.';
COMMENT ON COLUMN report.assignment.undone IS
    'Whether it was cancelled within 24 hours of redemption and before any launch: then the charge was credited.';
COMMENT ON COLUMN report.assignment.live IS 'Whether access goes on now.';
COMMENT ON COLUMN report.assignment.redeemed_at IS 'When the key was redeemed.';
COMMENT ON COLUMN report.assignment.expires_at IS 'The instant at which access ends or ended.';
COMMENT ON COLUMN report.assignment.day IS 'The day of redemption, in the time zone of the learner''s organization.';
COMMENT ON COLUMN report.assignment.last_day IS
    'The last day of access, in the time zone of the learner''s organization.';
COMMENT ON COLUMN report.assignment.launches IS 'How often the training was launched.';
COMMENT ON COLUMN report.assignment.first_launched_at IS 'When it was first launched; null if never.';
COMMENT ON COLUMN report.assignment.completed IS 'Whether it was ever completed.';
COMMENT ON COLUMN report.assignment.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.assignment.assignment_id IS 'The assignment''s id; the same as id.';
COMMENT ON COLUMN report.assignment.organization_id IS 'The organization_id of the learner''s organization.';
COMMENT ON COLUMN report.assignment.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.assignment.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.assignment.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.assignment.learner_id IS 'The learner''s id, as in report.learner.';
COMMENT ON COLUMN report.assignment.charge_id IS
    'The charge for its redemption, as in report.charge; null if the pool''s owner is not in sight.';
COMMENT ON COLUMN report.assignment.score IS 'The highest score of its launches; null without any.';
COMMENT ON COLUMN report.assignment.reason IS 'Why it was cancelled; null if it was not, or nobody said.';
COMMENT ON COLUMN report.assignment.cancelled_at IS 'When it was cancelled; null if it was not.';
COMMENT ON COLUMN report.assignment.recipient IS
    'Whom the key was distributed to; null if it was not distributed, or the pool''s owner is not in sight.';
COMMENT ON COLUMN report.assignment.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.assignment.reference IS
    'The reference of the distribution, such as an order number; empty without one.';

CREATE OR REPLACE VIEW report.launch WITH (security_barrier) AS
SELECT launch.id, launch.assignment_id, organization.name AS organization,
       (SELECT course.code FROM assignment JOIN course ON course.id = assignment.course_id
         WHERE assignment.id = launch.assignment_id) AS course,
       launch.launched_at, there.launched::date AS day,
       extract(isodow FROM there.launched)::int AS weekday, extract(hour FROM there.launched)::int AS hour,
       round(extract(epoch FROM launch.ended_at - launch.launched_at) / 3600, 6) AS hours,
       launch.completed,
       (SELECT assignment.redeemed_at FROM assignment WHERE assignment.id = launch.assignment_id) AS redeemed_at,
       (SELECT key.labels FROM assignment JOIN key ON key.id = assignment.key_id
         WHERE assignment.id = launch.assignment_id) AS labels,
       launch.organization_id,
       (SELECT assignment.key_id FROM assignment WHERE assignment.id = launch.assignment_id) AS key_id,
       (SELECT assignment.pool_id FROM assignment WHERE assignment.id = launch.assignment_id) AS pool_id,
       (SELECT assignment.course_id FROM assignment WHERE assignment.id = launch.assignment_id) AS course_id,
       (SELECT assignment.learner_id FROM assignment WHERE assignment.id = launch.assignment_id) AS learner_id,
       (SELECT source.id FROM source
         WHERE source.id = launch.source_id
           AND source.organization_id IN (SELECT report.visible_organization())) AS source_id,
       launch.ended_at, launch.score
  FROM launch
  JOIN organization ON organization.id = launch.organization_id
 CROSS JOIN LATERAL (SELECT launch.launched_at AT TIME ZONE organization.time_zone AS launched) AS there
 WHERE launch.outcome = 'launched' AND (launch.organization_id IN (SELECT report.visible_organization())) IS TRUE;
COMMENT ON VIEW report.launch IS
    'One row a launch of the training that was let in, of the learner''s organization.';
COMMENT ON COLUMN report.launch.id IS 'The launch''s id.';
COMMENT ON COLUMN report.launch.assignment_id IS 'The assignment''s id, as in report.assignment.';
COMMENT ON COLUMN report.launch.organization IS 'The learner''s organization.';
COMMENT ON COLUMN report.launch.course IS 'The course''s code.';
COMMENT ON COLUMN report.launch.launched_at IS 'When the training was launched.';
COMMENT ON COLUMN report.launch.day IS 'That day, in the time zone of the learner''s organization.';
COMMENT ON COLUMN report.launch.weekday IS 'That day of the week: 1 is Monday, 7 is Sunday.';
COMMENT ON COLUMN report.launch.hour IS 'The hour of that day, 0 to 23.';
COMMENT ON COLUMN report.launch.hours IS 'How many hours the training was taken; null while it goes on.';
COMMENT ON COLUMN report.launch.completed IS 'Whether the training was completed; null if nobody said.';
COMMENT ON COLUMN report.launch.redeemed_at IS 'When the key of its assignment was redeemed.';
COMMENT ON COLUMN report.launch.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.launch.organization_id IS 'The organization_id of the learner''s organization.';
COMMENT ON COLUMN report.launch.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.launch.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.launch.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.launch.learner_id IS 'The learner''s id, as in report.learner.';
COMMENT ON COLUMN report.launch.source_id IS
    'The id of the source that posted it, as in report.source; null if it is not in sight or a person did it.';
COMMENT ON COLUMN report.launch.ended_at IS 'When it ended; null while it goes on.';
COMMENT ON COLUMN report.launch.score IS 'The score that was reported; null if none was.';

CREATE OR REPLACE VIEW report.charge WITH (security_barrier) AS
SELECT charge.id, charge.kind::text AS kind, organization.name AS organization,
       learner_organization.name AS learner_organization, course.code AS course, pool.name AS pool,
       charge.assignment_id, charge.amount, charge.currency, charge.occurred_at,
       there.occurred::date AS day, date_trunc('month', there.occurred)::date AS service_month,
       charge.unbilled,
       (SELECT invoice_charge.invoice_id FROM invoice_charge
         WHERE invoice_charge.charge_id = charge.id AND invoice_charge.released_at IS NULL) AS invoice_id,
       (SELECT key.labels FROM assignment JOIN key ON key.id = assignment.key_id
         WHERE assignment.id = charge.assignment_id) AS labels,
       EXISTS (SELECT FROM charge_cancelled_out WHERE charge_id = charge.id) AS cancelled_out,
       charge.id AS charge_id, charge.credits_id AS credits_charge_id, charge.reason,
       charge.organization_id, charge.learner_organization_id, charge.pool_id, charge.course_id,
       course.title AS course_title,
       (SELECT assignment.key_id FROM assignment WHERE assignment.id = charge.assignment_id) AS key_id,
       (SELECT assignment.learner_id FROM assignment WHERE assignment.id = charge.assignment_id) AS learner_id,
       (SELECT distribution.recipient FROM assignment JOIN key ON key.id = assignment.key_id
          JOIN distribution ON distribution.id = key.distribution_id
         WHERE assignment.id = charge.assignment_id) AS recipient,
       (SELECT distribution.recipient_name FROM assignment JOIN key ON key.id = assignment.key_id
          JOIN distribution ON distribution.id = key.distribution_id
         WHERE assignment.id = charge.assignment_id) AS recipient_name,
       (SELECT distribution.reference FROM assignment JOIN key ON key.id = assignment.key_id
          JOIN distribution ON distribution.id = key.distribution_id
         WHERE assignment.id = charge.assignment_id) AS reference
  FROM charge
  JOIN organization ON organization.id = charge.organization_id
  JOIN organization AS learner_organization ON learner_organization.id = charge.learner_organization_id
  JOIN course ON course.id = charge.course_id
  JOIN pool ON pool.id = charge.pool_id
 CROSS JOIN LATERAL (SELECT charge.occurred_at AT TIME ZONE organization.time_zone AS occurred) AS there
 WHERE (charge.organization_id IN (SELECT report.visible_organization())) IS TRUE;
COMMENT ON VIEW report.charge IS
    'One row a charge or credit, of the organization that owes it: the pool''s owner.';
COMMENT ON COLUMN report.charge.id IS 'The charge''s id.';
COMMENT ON COLUMN report.charge.kind IS 'redemption, extension or credit.';
COMMENT ON COLUMN report.charge.organization IS 'Who owes it: the pool''s owner.';
COMMENT ON COLUMN report.charge.learner_organization IS 'The learner''s organization.';
COMMENT ON COLUMN report.charge.course IS 'The course''s code.';
COMMENT ON COLUMN report.charge.pool IS 'The pool''s name, unique in its organization.';
COMMENT ON COLUMN report.charge.assignment_id IS 'The assignment''s id, as in report.assignment.';
COMMENT ON COLUMN report.charge.amount IS
    'The amount: the price in force when it occurred; of a credit, zero or less.';
COMMENT ON COLUMN report.charge.currency IS 'The amounts'' currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.charge.occurred_at IS 'When it occurred: for a redemption, when that was received.';
COMMENT ON COLUMN report.charge.day IS 'That day, in the organization''s time zone.';
COMMENT ON COLUMN report.charge.service_month IS 'The first day of that month.';
COMMENT ON COLUMN report.charge.unbilled IS 'Whether it is on no unreleased invoice.';
COMMENT ON COLUMN report.charge.invoice_id IS
    'The invoice that it is on, as in report.invoice; null while it is unbilled.';
COMMENT ON COLUMN report.charge.labels IS 'The labels of the row''s key; null where it has none.';
COMMENT ON COLUMN report.charge.cancelled_out IS
    'Whether it and its credit cancelled out before they were billed, so that neither is on a document.';
COMMENT ON COLUMN report.charge.charge_id IS 'The charge''s id; the same as id.';
COMMENT ON COLUMN report.charge.credits_charge_id IS
    'The charge_id of the charge that a credit undoes; null for others.';
COMMENT ON COLUMN report.charge.reason IS 'Why it was credited or extended; null if nobody said.';
COMMENT ON COLUMN report.charge.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.charge.learner_organization_id IS 'The organization_id of the learner''s organization.';
COMMENT ON COLUMN report.charge.pool_id IS 'The pool''s id, as in report.pool.';
COMMENT ON COLUMN report.charge.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.charge.course_title IS 'The course''s title.';
COMMENT ON COLUMN report.charge.key_id IS 'The key''s id. No view shows a key''s code.';
COMMENT ON COLUMN report.charge.learner_id IS 'The learner''s id, as in report.learner.';
COMMENT ON COLUMN report.charge.recipient IS
    'Whom the key was distributed to: an e-mail address or a name. Null if it was not distributed.';
COMMENT ON COLUMN report.charge.recipient_name IS
    'The recipient''s name, where the recipient is an address; empty if unknown.';
COMMENT ON COLUMN report.charge.reference IS
    'The reference of the distribution, such as an order number; empty without one.';

CREATE OR REPLACE VIEW report.invoice WITH (security_barrier) AS
SELECT invoice.id, invoice.number, organization.name AS organization, invoice.month, invoice.currency,
       invoice.status::text AS status, invoice.subtotal, invoice.tax, invoice.total,
       invoice.finalized_at, invoice.due_on, invoice.paid_on,
       invoice.status = 'finalized' AND invoice.total > 0
           AND invoice.due_on < (clock_now() AT TIME ZONE (SELECT time_zone FROM seller))::date AS overdue,
       (SELECT coalesce(sum(invoice_line.amount), 0) FROM invoice_line
         WHERE invoice_line.invoice_id = invoice.id) AS lines,
       (SELECT coalesce(sum(charge.amount), 0) FROM invoice_charge JOIN charge ON charge.id = charge_id
         WHERE invoice_charge.invoice_id = invoice.id) AS charges,
       invoice.id AS invoice_id, invoice.organization_id, invoice.kind::text AS kind, invoice.issued_on,
       invoice.void_reason AS reason
  FROM invoice JOIN organization ON organization.id = invoice.organization_id
 WHERE invoice.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.invoice IS
    'One row an invoice or credit note.';
COMMENT ON COLUMN report.invoice.id IS 'The invoice''s id.';
COMMENT ON COLUMN report.invoice.number IS 'Its number; null while it is a draft.';
COMMENT ON COLUMN report.invoice.organization IS 'Whose it is: the buyer.';
COMMENT ON COLUMN report.invoice.month IS 'The first day of the billing month.';
COMMENT ON COLUMN report.invoice.currency IS 'The amounts'' currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.invoice.status IS 'draft, finalized, paid or void.';
COMMENT ON COLUMN report.invoice.subtotal IS 'Its total without tax.';
COMMENT ON COLUMN report.invoice.tax IS 'The tax.';
COMMENT ON COLUMN report.invoice.total IS 'subtotal + tax.';
COMMENT ON COLUMN report.invoice.finalized_at IS 'When it was finalized; null for a draft.';
COMMENT ON COLUMN report.invoice.due_on IS 'The day on which it is due; null for a draft.';
COMMENT ON COLUMN report.invoice.paid_on IS 'The day on which it was paid; null before.';
COMMENT ON COLUMN report.invoice.overdue IS
    'Whether it is an invoice that is finalized, not wholly paid, and past its due day in the seller''s time zone.';
COMMENT ON COLUMN report.invoice.lines IS 'What its lines add up to.';
COMMENT ON COLUMN report.invoice.charges IS
    'What the charges on it add up to, or those that were on it if it is void.';
COMMENT ON COLUMN report.invoice.invoice_id IS 'The invoice''s id; the same as id.';
COMMENT ON COLUMN report.invoice.organization_id IS 'The organization''s id, as in report.organization.';
COMMENT ON COLUMN report.invoice.kind IS 'invoice or credit_note.';
COMMENT ON COLUMN report.invoice.issued_on IS 'The day of issue, in the seller''s time zone; null for a draft.';
COMMENT ON COLUMN report.invoice.reason IS 'Why it was voided; null if it was not.';

CREATE OR REPLACE VIEW report.invoice_line WITH (security_barrier) AS
SELECT invoice_line.id, invoice_line.invoice_id, organization.name AS organization,
       course.code AS course, coalesce(invoice_line.pool_name, pool.name) AS pool,
       invoice_line.kind::text AS kind, invoice_line.service_month, invoice_line.unit_price,
       invoice_line.quantity, invoice_line.amount, invoice.currency,
       invoice.organization_id, invoice_line.course_id, invoice_line.pool_id
  FROM invoice_line
  JOIN invoice ON invoice.id = invoice_line.invoice_id
  JOIN organization ON organization.id = invoice.organization_id
  JOIN course ON course.id = invoice_line.course_id
  JOIN pool ON pool.id = invoice_line.pool_id
 WHERE invoice.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.invoice_line IS
    'One row a line of an invoice or credit note.';
COMMENT ON COLUMN report.invoice_line.id IS 'The line''s id.';
COMMENT ON COLUMN report.invoice_line.invoice_id IS 'The invoice''s id, as in report.invoice.';
COMMENT ON COLUMN report.invoice_line.organization IS 'Whose invoice it is: the buyer.';
COMMENT ON COLUMN report.invoice_line.course IS 'The course''s code.';
COMMENT ON COLUMN report.invoice_line.pool IS 'The pool''s name, as on the invoice.';
COMMENT ON COLUMN report.invoice_line.kind IS 'redemption, extension or credit.';
COMMENT ON COLUMN report.invoice_line.service_month IS 'The first day of the month in which its charges occurred.';
COMMENT ON COLUMN report.invoice_line.unit_price IS 'The amount of one of its charges.';
COMMENT ON COLUMN report.invoice_line.quantity IS 'How many charges it has.';
COMMENT ON COLUMN report.invoice_line.amount IS 'unit_price x quantity.';
COMMENT ON COLUMN report.invoice_line.currency IS 'The amounts'' currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.invoice_line.organization_id IS 'The buyer''s organization_id.';
COMMENT ON COLUMN report.invoice_line.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.invoice_line.pool_id IS 'The pool''s id, as in report.pool.';

GRANT SELECT ON ALL TABLES IN SCHEMA report TO keypool_analyst, keypool_web;
REVOKE ALL ON FUNCTION report.price_now(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION report.price_now(bigint, bigint) TO keypool_analyst, keypool_web;
