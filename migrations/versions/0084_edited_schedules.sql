ALTER TABLE report_schedule ADD COLUMN named_by_id bigint;

-- Of schedules that there are, whoever made one named its recipients.
UPDATE report_schedule
   SET named_by_id = coalesce(
           (SELECT console_user.organization_id FROM console_user WHERE 'user ' || email = asked_by),
           (SELECT token.organization_id FROM token WHERE 'token ' || id || ' (' || name || ')' = asked_by));

-- One that is made by the month after it was by the week has periods that begin on one day.
ALTER TABLE report_run
    DROP CONSTRAINT report_is_made_once_for_a_period,
    ADD CONSTRAINT report_is_made_once_for_a_period UNIQUE (schedule_id, first_day, last_day);

GRANT UPDATE (every, format, named_by_id) ON report_schedule TO keypool_web;

-- Whether those whom somebody of an organization named may still get reports on another: whether that is in
-- the first one's tree now.
CREATE FUNCTION may_name_recipients(named_by bigint, about bigint) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT named_by IS NULL
        OR EXISTS (SELECT FROM organization_ancestry WHERE ancestor_id = named_by AND descendant_id = about)
$$;

-- A scheduled report, or that it could not be made, is mailed to who is to get it. Recipients that were named
-- from above, by an organization that the report's has left, get none from then on, and the history says so.
CREATE OR REPLACE FUNCTION mail_report() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    WITH foreign_recipients AS (
        SELECT id, recipients FROM report_schedule
         WHERE id = NEW.schedule_id AND recipients <> '{}'
           AND NOT may_name_recipients(named_by_id, organization_id) FOR UPDATE),
    stopped AS (
        UPDATE report_schedule SET recipients = '{}' FROM foreign_recipients
         WHERE report_schedule.id = foreign_recipients.id
        RETURNING report_schedule.id, organization_id, notebook, foreign_recipients.recipients AS mail)
    INSERT INTO history (actor, organization_id, action, thing, thing_id, detail)
    SELECT 'schedule ' || id, organization_id, 'report recipients stopped', 'schedule', id,
           jsonb_build_object('notebook', notebook, 'mail', to_jsonb(mail),
                              'reason', 'The organization left the tree of those who named them.')
      FROM stopped;
    INSERT INTO message (organization_id, kind, recipient, about, occasion, data)
    SELECT NEW.organization_id,
           CASE NEW.state WHEN 'done' THEN 'scheduled_report' ELSE 'scheduled_report_failed' END,
           recipient, 'report ' || NEW.id, NEW.finished_at,
           jsonb_build_object('report', NEW.id, 'schedule', NEW.schedule_id, 'notebook', NEW.notebook,
                              'first_day', NEW.first_day, 'last_day', NEW.last_day)
      FROM report_schedule CROSS JOIN unnest(recipients) WITH ORDINALITY AS of (recipient, nth)
     WHERE report_schedule.id = NEW.schedule_id
     ORDER BY nth;
    RETURN NULL;
END
$$;
