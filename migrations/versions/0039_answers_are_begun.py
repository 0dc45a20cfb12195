"""Who begins an answer to an Idempotency-Key may keep it."""

from alembic import op

revision = "0039"
down_revision = "0038"
oldest_code = "0037"


def upgrade() -> None:
    op.execute("""
    DROP POLICY erasing ON answer;
    CREATE POLICY erasing ON answer AS RESTRICTIVE FOR UPDATE TO keypool_web
        USING ((SELECT sees_everything()) OR encrypted = '') WITH CHECK (true);
    """)
