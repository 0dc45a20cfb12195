CREATE OR REPLACE FUNCTION tell_redemptions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM endpoint WHERE removed_at IS NULL AND 'redemption.decided' = ANY (types)) THEN
        RETURN NULL;
    END IF;
    WITH decided AS MATERIALIZED (
        SELECT added.*, event.source_id, event.webhook_id, event.organization_id AS sender_id
          FROM added JOIN event ON event.id = added.event_id),
    listening AS MATERIALIZED (
        SELECT place.organization_id, endpoint.id AS endpoint_id, endpoint.organization_id AS listener_id
          FROM (SELECT organization_id FROM decided UNION SELECT sender_id FROM decided) AS place
          JOIN organization_ancestry AS above ON above.descendant_id = place.organization_id
          JOIN endpoint ON endpoint.organization_id = above.ancestor_id
         WHERE removed_at IS NULL AND 'redemption.decided' = ANY (endpoint.types)),
    told AS (
        SELECT event_id, endpoint_id, listener_id,
               bool_or(place = 'owner') AS sees_owner, bool_or(place = 'sender') AS sees_sender
          FROM (SELECT event_id, endpoint_id, listener_id, 'owner' AS place
                  FROM decided JOIN listening USING (organization_id)
                UNION ALL
                SELECT event_id, endpoint_id, listener_id, 'sender'
                  FROM decided JOIN listening ON listening.organization_id = sender_id) AS seen
         GROUP BY event_id, endpoint_id, listener_id)
    INSERT INTO delivery (endpoint_id, type, learner_organization_id, event_id, data)
    SELECT told.endpoint_id, 'redemption.decided', decided.learner_organization_id, decided.event_id,
           jsonb_build_object(
               'event', decided.event_id::text,
               'source', CASE WHEN sees_sender THEN source_id::text END,
               'webhook_id', CASE WHEN sees_sender THEN webhook_id END,
               'outcome', decided.outcome,
               'pool', CASE WHEN sees_owner THEN decided.pool_id::text END,
               'course', CASE WHEN sees_owner THEN course.code END,
               'learner', CASE WHEN known.distance IS NULL THEN masked_address(learner_email) ELSE learner_email END,
               'organization', CASE WHEN known.distance IS NOT NULL THEN organization.name END,
               'assignment', decided.assignment_id::text,
               'access_expires_at', iso_instant(assignment.expires_at),
               'received_at', iso_instant(decided.received_at),
               'reader', jsonb_build_object(
                   'time_zone', CASE WHEN known.distance IS NULL THEN listener.time_zone ELSE organization.time_zone END,
                   'locale', CASE WHEN known.distance IS NULL THEN listener.locale ELSE organization.locale END,
                   'limit', iso_instant(refusing_limit(decided.outcome::text, pool.starts_at, pool.expires_at))))
      FROM told
      JOIN decided USING (event_id)
      JOIN organization ON organization.id = decided.learner_organization_id
      JOIN organization AS listener ON listener.id = told.listener_id
      LEFT JOIN pool ON pool.id = decided.pool_id
      LEFT JOIN course ON course.id = pool.course_id
      LEFT JOIN assignment ON assignment.id = decided.assignment_id
      LEFT JOIN organization_ancestry AS known
             ON known.ancestor_id = told.listener_id AND known.descendant_id = decided.learner_organization_id
     ORDER BY decided.received_at, decided.event_id, told.endpoint_id;
    RETURN NULL;
END
$$;
