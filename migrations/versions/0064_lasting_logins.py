"""A login that reads reports of one organization can last."""

from alembic import op

revision = "0064"
down_revision = "0063"
oldest_code = "0055"


def upgrade() -> None:
    """Say which logins last, who made them and when; older code leaves alone those that never expire."""
    op.execute("""
ALTER TABLE report_login ADD lasting boolean NOT NULL DEFAULT false,
    ADD made_by text NOT NULL DEFAULT '', ADD created_at timestamptz NOT NULL DEFAULT clock_now();
""")
