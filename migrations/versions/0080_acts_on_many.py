"""What is asked for of many rows at once is kept, with each row's result."""

from pathlib import Path

from alembic import op

revision = "0080"
down_revision = "0079"
oldest_code = "0055"


def upgrade() -> None:
    """Add two tables; older code knows neither, and runs beside them."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
