"""Reports follow keys from their making, and know when a distributed key was retired."""

from pathlib import Path

from alembic import op

revision = "0066"
down_revision = "0065"
oldest_code = "0055"


def upgrade() -> None:
    """Add columns at the ends of two views; older code reads those that it knows."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
