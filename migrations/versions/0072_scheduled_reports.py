"""Reports are made again and again by schedules, kept, and mailed to those who are to get them."""

from pathlib import Path

from alembic import op

revision = "0072"
down_revision = "0071"
oldest_code = "0055"


def upgrade() -> None:
    """Add schedules; older code has no template for their mails: make some once all is new."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
