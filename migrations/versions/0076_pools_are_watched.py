"""Pools are watched: what is unusual against their own past."""

from pathlib import Path

from alembic import op

revision = "0076"
down_revision = "0075"
oldest_code = "0055"


def upgrade() -> None:
    """Add a table, its view and a type of deliveries.

    Older code runs with them, and cannot read endpoints that ask for the type: it is asked for once all is new.
    """
    op.execute("ALTER TYPE delivery_type ADD VALUE 'pool.unusual'")
    sql = Path(__file__).with_suffix(".sql").read_text()
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
