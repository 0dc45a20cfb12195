"""Schedules of reports are edited, and mail nobody from whose tree their organization went."""

from pathlib import Path

from alembic import op

revision = "0084"
down_revision = "0083"
oldest_code = "0055"


def upgrade() -> None:
    """Add a column, and have mails ask the tenancy; older code runs with both."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
