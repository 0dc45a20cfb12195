"""Organizations have templates of their own for mails."""

from alembic import op

revision = "0025"
down_revision = "0024"
oldest_code = "0018"


def upgrade() -> None:
    op.execute("""
    CREATE TABLE mail_template (
        id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        organization_id bigint      NOT NULL REFERENCES organization ON DELETE RESTRICT,
        name            text        NOT NULL,
        subject         text        NOT NULL,
        body            text        NOT NULL,
        created_at      timestamptz NOT NULL DEFAULT clock_now(),
        replaced_at     timestamptz,

        CONSTRAINT mail_template_has_a_name
            CHECK (name = btrim(name) AND name <> '' AND length(name) <= 100),
        CONSTRAINT mail_template_has_a_subject CHECK (length(subject) BETWEEN 1 AND 300),
        CONSTRAINT mail_template_has_a_body    CHECK (length(body) BETWEEN 1 AND 20000)
    );
    COMMENT ON CONSTRAINT mail_template_has_a_name ON mail_template
        IS 'invalid_input(name): A template''s name has 1 to 100 characters.';
    COMMENT ON CONSTRAINT mail_template_has_a_subject ON mail_template
        IS 'invalid_input(subject): A subject has 1 to 300 characters.';
    COMMENT ON CONSTRAINT mail_template_has_a_body ON mail_template
        IS 'invalid_input(text): A mail''s text has 1 to 20,000 characters.';
    CREATE UNIQUE INDEX mail_template_is_in_force_once ON mail_template (organization_id, name)
        WHERE replaced_at IS NULL;
    ALTER TABLE message ADD COLUMN template_id bigint REFERENCES mail_template ON DELETE RESTRICT;
    ALTER TABLE mail_template ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON mail_template TO keypool_web
        USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
    GRANT SELECT, INSERT, UPDATE ON mail_template TO keypool_web;
    """)
