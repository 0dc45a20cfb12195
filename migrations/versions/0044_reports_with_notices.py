"""A report that is done may have cells that failed."""

from alembic import op

revision = "0044"
down_revision = "0043"
oldest_code = "0037"


def upgrade() -> None:
    op.execute("""
    ALTER TABLE report_run DROP CONSTRAINT report_failure_has_its_traceback;
    ALTER TABLE report_run ADD CONSTRAINT report_failure_has_its_traceback
        CHECK (CASE state WHEN 'failed' THEN traceback IS NOT NULL
                          WHEN 'done' THEN true
                          ELSE traceback IS NULL END);
    """)
