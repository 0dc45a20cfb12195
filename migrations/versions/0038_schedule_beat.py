"""The database knows when a task of the schedule last ran."""

from alembic import op

revision = "0038"
down_revision = "0037"
oldest_code = "0037"


def upgrade() -> None:
    op.execute("""
    CREATE TABLE schedule_beat (
        only_one    boolean     PRIMARY KEY DEFAULT true,
        last_run_at timestamptz NOT NULL DEFAULT clock_now(),

        CONSTRAINT schedule_beat_is_one CHECK (only_one)
    );
    INSERT INTO schedule_beat DEFAULT VALUES;
    ALTER TABLE schedule_beat ENABLE ROW LEVEL SECURITY;
    CREATE POLICY operating ON schedule_beat FOR SELECT TO keypool_web USING ((SELECT sees_everything()));
    GRANT SELECT ON schedule_beat TO keypool_web;
    """)
