CREATE TYPE schedule_format AS ENUM ('html', 'pdf', 'xlsx');
CREATE TYPE report_rhythm   AS ENUM ('day', 'week', 'month');

-- A report that is made again and again: a notebook, asked about each day, week (from Monday on) or month of
-- an organization and its descendants when that is over in its time zone; of all, in UTC, where it is none.
-- recipients get each by mail, as format. Periods that end after since are made, unless it was paused or removed.
CREATE TABLE report_schedule (
    id              bigint          GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organization_id bigint          REFERENCES organization ON DELETE RESTRICT,
    notebook        text            NOT NULL,
    every           report_rhythm   NOT NULL,
    format          schedule_format NOT NULL DEFAULT 'html',
    parameters      jsonb           NOT NULL DEFAULT '{}',
    recipients      text[]          NOT NULL DEFAULT '{}',
    asked_by        text            NOT NULL,
    created_at      timestamptz     NOT NULL DEFAULT clock_now(),
    since           timestamptz     NOT NULL DEFAULT clock_now(),
    paused_at       timestamptz,
    removed_at      timestamptz,

    CONSTRAINT schedule_names_a_notebook_without_a_path CHECK (notebook ~ '^[A-Za-z0-9_][A-Za-z0-9_-]{0,99}$'),
    CONSTRAINT schedule_has_a_few_parameters            CHECK (jsonb_typeof(parameters) = 'object'
                                                           AND octet_length(parameters::text) <= 4000),
    CONSTRAINT schedule_mails_to_a_few                  CHECK (cardinality(recipients) <= 50),
    CONSTRAINT schedule_mails_to_somebody               CHECK (array_position(recipients, NULL) IS NULL),
    CONSTRAINT schedule_that_is_removed_mails_nobody    CHECK (removed_at IS NULL OR recipients = '{}')
);
COMMENT ON CONSTRAINT schedule_has_a_few_parameters ON report_schedule
    IS 'invalid_input(parameters): The parameters of a report have at most 4,000 characters in all.';
COMMENT ON CONSTRAINT schedule_mails_to_a_few ON report_schedule
    IS 'invalid_input(mail): A scheduled report is mailed to at most 50 addresses; give one of a list.';

-- Read by lists of an organization's schedules.
CREATE INDEX report_schedule_by_organization ON report_schedule (organization_id, id) WHERE removed_at IS NULL;

ALTER TABLE report_run
    ADD COLUMN schedule_id bigint REFERENCES report_schedule ON DELETE RESTRICT,
    ADD COLUMN retry_at timestamptz,
    ADD CONSTRAINT report_is_made_once_for_a_period UNIQUE (schedule_id, first_day);
DROP INDEX report_run_unfinished;
CREATE INDEX report_run_unfinished ON report_run ((invoice_id IS NOT NULL OR schedule_id IS NOT NULL), id)
    WHERE state IN ('queued', 'running');

-- Which scheduled report a mail brings, by what it is about; which stays when its body is blanked.
CREATE FUNCTION scheduled_report_of(kind text, about text) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN kind IN ('scheduled_report', 'scheduled_report_failed') THEN split_part(about, ' ', 2)::bigint END
$$;

-- A scheduled report, or that it could not be made, is mailed to who is to get it.
CREATE FUNCTION mail_report() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
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

CREATE TRIGGER report_is_mailed AFTER UPDATE OF state ON report_run
    FOR EACH ROW WHEN (NEW.schedule_id IS NOT NULL AND NEW.state IN ('done', 'failed') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION mail_report();

ALTER TABLE report_schedule ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON report_schedule TO keypool_web USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
CREATE POLICY persons ON report_schedule AS RESTRICTIVE TO keypool_web USING ((SELECT is_persons()));
GRANT SELECT, INSERT ON report_schedule TO keypool_web;
GRANT UPDATE (recipients, parameters, since, paused_at, removed_at) ON report_schedule TO keypool_web;
DROP POLICY leads_to_rows_in_sight ON report_run;
CREATE POLICY leads_to_rows_in_sight ON report_run AS RESTRICTIVE FOR INSERT TO keypool_web
    WITH CHECK ((invoice_id IS NULL OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id))
                AND schedule_id IS NULL);

DROP FUNCTION sender_of(bigint, bytea);
-- In whose name a message came, and which scheduled report it brought, if any; and that its receiver wants
-- no more of that report, or no more reminders from there. Whoever asks holds the signed link of that message,
-- as the web proves.
CREATE FUNCTION sender_of(message_id bigint, proofs bytea)
RETURNS TABLE (organization text, locale text, notebook text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
BEGIN
    PERFORM require_proof(proofs, 'unsubscribe', message_id::text);
    RETURN QUERY
    SELECT coalesce(nullif(organization.sender_name, ''), organization.name, nullif(seller.name, ''), 'keypool'),
           coalesce(organization.locale, 'en'), report.notebook
      FROM message
     CROSS JOIN seller
      LEFT JOIN organization ON organization.id = message.organization_id
      LEFT JOIN report_run AS report ON report.id = scheduled_report_of(message.kind, message.about)
     WHERE message.id = message_id;
END
$$;

CREATE OR REPLACE FUNCTION unsubscribe(message_id bigint, proofs bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_proof(proofs, 'unsubscribe', message_id::text);
    INSERT INTO unsubscribed (organization_id, address)
    SELECT organization_id, recipient_lower FROM message
     WHERE id = message_id AND scheduled_report_of(kind, about) IS NULL
    ON CONFLICT DO NOTHING;
    UPDATE report_schedule
       SET recipients = ARRAY(SELECT recipient FROM unnest(recipients) WITH ORDINALITY AS of (recipient, nth)
                               WHERE lower(recipient) <> message.recipient_lower ORDER BY nth)
      FROM message JOIN report_run AS report ON report.id = scheduled_report_of(message.kind, message.about)
     WHERE message.id = message_id AND report_schedule.id = report.schedule_id;
END
$$;
REVOKE ALL ON FUNCTION sender_of(bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sender_of(bigint, bytea) TO keypool_web;
