"""The lake notes what deferred revenue and the times of retired keys hang on, and is written anew with them."""

from pathlib import Path

from alembic import op

revision = "0075"
down_revision = "0074"
oldest_code = "0055"
changes = {"lake_change": "every month of the lake is to be written anew, with more columns"}


def upgrade() -> None:
    """Change a trigger's function and add a trigger; older code knows neither and runs with them."""
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
