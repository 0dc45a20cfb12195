"""Reminders: which organizations want, who wants none, and which were sent."""

from alembic import op

revision = "0031"
down_revision = "0030"
oldest_code = "0030"


def upgrade() -> None:
    op.execute("""
    CREATE TYPE reminder_kind AS ENUM (
        'key_unused', 'access_unlaunched', 'access_ending', 'pool_low', 'pool_ending', 'invoice_sent',
        'invoice_due', 'invoice_overdue', 'report_made', 'trouble');

    ALTER TABLE endpoint ADD COLUMN failing_since timestamptz;
    UPDATE endpoint SET failing_since = clock_now() WHERE failures > 0;

CREATE FUNCTION note_failing() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.failing_since := CASE WHEN NEW.failures > 0 THEN clock_now() END;
    RETURN NEW;
END
$$;

CREATE TRIGGER endpoint_fails_since BEFORE UPDATE OF failures ON endpoint
    FOR EACH ROW WHEN ((OLD.failures > 0) <> (NEW.failures > 0)) EXECUTE FUNCTION note_failing();

    ALTER TABLE message
        ADD COLUMN about    text,
        ADD COLUMN occasion timestamptz,
        ADD CONSTRAINT message_reminds_of_a_thing CHECK ((about IS NULL) = (occasion IS NULL));
    CREATE UNIQUE INDEX message_reminds_once ON message (about, recipient_lower, kind, occasion)
        WHERE about IS NOT NULL;

    CREATE TABLE reminder (
        organization_id bigint        NOT NULL REFERENCES organization ON DELETE RESTRICT,
        kind            reminder_kind NOT NULL,
        threshold       int,
        recipient       text          NOT NULL DEFAULT '',
        looked_to       timestamptz   NOT NULL,

        PRIMARY KEY (organization_id, kind),
        CONSTRAINT reminder_has_its_threshold
            CHECK ((threshold IS NULL) = (kind IN ('invoice_sent', 'report_made', 'trouble'))),
        CONSTRAINT reminder_comes_in_days CHECK (kind = 'pool_low' OR threshold BETWEEN 1 AND 3650),
        CONSTRAINT reminder_counts_keys   CHECK (kind <> 'pool_low' OR threshold BETWEEN 1 AND 1000000000)
    );

    COMMENT ON CONSTRAINT reminder_comes_in_days ON reminder
        IS 'invalid_input(days): A reminder comes 1 to 3650 days before or after.';
    COMMENT ON CONSTRAINT reminder_counts_keys ON reminder
        IS 'invalid_input(keys): A pool is low below 1 to 1,000,000,000 keys.';

    CREATE TABLE pool_shortage (
        pool_id bigint      PRIMARY KEY REFERENCES pool ON DELETE RESTRICT,
        since   timestamptz NOT NULL DEFAULT clock_now()
    );

    CREATE TABLE unsubscribed (
        organization_id bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
        address         text        NOT NULL,
        since           timestamptz NOT NULL DEFAULT clock_now(),

        PRIMARY KEY (organization_id, address),
        CONSTRAINT unsubscribed_is_in_lower_case CHECK (address = lower(address))
    );

    ALTER TABLE reminder      ENABLE ROW LEVEL SECURITY;
    ALTER TABLE pool_shortage ENABLE ROW LEVEL SECURITY;
    ALTER TABLE unsubscribed  ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON reminder TO keypool_web
        USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
    CREATE POLICY tenancy ON unsubscribed TO keypool_web
        USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
    GRANT SELECT, INSERT, UPDATE, DELETE ON reminder TO keypool_web;
    GRANT SELECT, UPDATE ON unsubscribed TO keypool_web;

CREATE FUNCTION sender_of(message_id bigint)
RETURNS TABLE (organization text, locale text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp ROWS 1 AS $$
    SELECT coalesce(nullif(organization.sender_name, ''), organization.name), organization.locale
      FROM message JOIN organization ON organization.id = message.organization_id
     WHERE message.id = message_id
$$;

CREATE FUNCTION unsubscribe(message_id bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO unsubscribed (organization_id, address)
    SELECT organization_id, recipient_lower FROM message WHERE id = message_id
    ON CONFLICT DO NOTHING
$$;

    REVOKE ALL ON FUNCTION sender_of(bigint), unsubscribe(bigint) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION sender_of(bigint), unsubscribe(bigint) TO keypool_web;
    """)
