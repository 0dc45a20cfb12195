"""Schema "report" has what is open of each document by day, and over which days each charge is earned."""

from pathlib import Path

from alembic import op

revision = "0068"
down_revision = "0067"
oldest_code = "0055"


def upgrade() -> None:
    """Add two views and a function; older code knows none of them and runs with them."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
