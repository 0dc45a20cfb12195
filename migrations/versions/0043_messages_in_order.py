"""Mails that somebody waits for are sent first."""

from alembic import op

from worker.database import steps

revision = "0043"
down_revision = "0042"
oldest_code = "0037"
transactional = False


def upgrade() -> None:
    steps.build_index(
        "message_next",
        "ON message ((kind NOT IN ('code', 'reset')), due_at, id) WHERE state = 'waiting'",
    )
    op.execute("DROP INDEX IF EXISTS message_due")
