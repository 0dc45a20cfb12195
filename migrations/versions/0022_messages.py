"""Messages: e-mails, written in the transaction of what causes them."""

from alembic import op

revision = "0022"
down_revision = "0021"
oldest_code = "0018"


def upgrade() -> None:
    op.execute("""
    ALTER TABLE organization
        ADD COLUMN sender_name text NOT NULL DEFAULT '',
        ADD COLUMN reply_to    text NOT NULL DEFAULT '';

    CREATE TYPE message_state AS ENUM ('waiting', 'sent', 'failed');

    CREATE TABLE message (
        id              bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        organization_id bigint        NOT NULL REFERENCES organization ON DELETE RESTRICT,
        distribution_id bigint        REFERENCES distribution ON DELETE RESTRICT,
        kind            text          NOT NULL,
        recipient       text          NOT NULL,
        recipient_lower text          NOT NULL GENERATED ALWAYS AS (lower(recipient)) STORED,
        data            jsonb,
        identity        uuid          NOT NULL DEFAULT gen_random_uuid(),
        happened_at     timestamptz   NOT NULL DEFAULT clock_now(),
        state           message_state NOT NULL DEFAULT 'waiting',
        due_at          timestamptz   NOT NULL DEFAULT clock_now(),
        attempts        int           NOT NULL DEFAULT 0,
        tried_since     timestamptz,
        ended_at        timestamptz,
        error           text,
        refused         boolean       NOT NULL DEFAULT false,

        CONSTRAINT message_ends_once             CHECK ((state = 'waiting') = (ended_at IS NULL)),
        CONSTRAINT message_failure_has_its_error CHECK (state <> 'failed' OR error IS NOT NULL),
        CONSTRAINT message_has_a_body_to_send    CHECK (state <> 'waiting' OR data IS NOT NULL),
        CONSTRAINT message_is_refused_for_good   CHECK (NOT refused OR state = 'failed')
    );

    CREATE UNIQUE INDEX message_gives_keys_once ON message (distribution_id) WHERE kind = 'keys';
    CREATE INDEX message_due ON message (due_at, id) WHERE state = 'waiting';
    CREATE INDEX message_by_organization ON message (organization_id, id);
    CREATE INDEX message_by_recipient ON message (recipient_lower);
    CREATE INDEX message_refused ON message (recipient_lower, organization_id) WHERE refused;
    CREATE INDEX message_failed ON message (id) WHERE state = 'failed';
    CREATE INDEX message_to_blank ON message (ended_at) WHERE data IS NOT NULL;

    CREATE TABLE mail_server (
        only_one    boolean     PRIMARY KEY DEFAULT true,
        failures    int         NOT NULL DEFAULT 0,
        rests_until timestamptz,

        CONSTRAINT mail_server_is_one CHECK (only_one)
    );
    INSERT INTO mail_server DEFAULT VALUES;

    ALTER TABLE message     ENABLE ROW LEVEL SECURITY;
    ALTER TABLE mail_server ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON message TO keypool_web
        USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
    GRANT SELECT, INSERT, UPDATE ON message TO keypool_web;
    """)
