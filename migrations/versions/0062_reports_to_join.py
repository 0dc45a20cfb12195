"""Schema "report" has ids, courses, learners, sources, prices and reasons, and a comment on each column."""

from pathlib import Path

from alembic import op

revision = "0062"
down_revision = "0061"
oldest_code = "0055"


def upgrade() -> None:
    """Add columns at the ends of the views, and views; older code reads those that it knows."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
