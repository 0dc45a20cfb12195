"""A period's journal is numbered, with the accounts of its lines (B7)."""

from alembic import op

revision = "0021"
down_revision = "0020"
oldest_code = "0018"


def upgrade() -> None:
    op.execute("ALTER TABLE seller ADD COLUMN accounts jsonb NOT NULL DEFAULT '{}'")
    op.execute("""
        CREATE TABLE journal_export (
            number    int         PRIMARY KEY,
            first_day date        NOT NULL,
            last_day  date        NOT NULL,
            accounts  jsonb       NOT NULL,
            made_at   timestamptz NOT NULL DEFAULT clock_now(),

            CONSTRAINT journal_is_numbered_once_a_period UNIQUE (first_day, last_day),
            CONSTRAINT journal_has_days_in_order         CHECK (first_day <= last_day)
        );
        ALTER TABLE journal_export ENABLE ROW LEVEL SECURITY;
        CREATE POLICY operating ON journal_export TO keypool_web USING ((SELECT sees_everything()));
        GRANT SELECT, INSERT ON journal_export TO keypool_web;
    """)
