"""The first release's schema, frozen: every later change of schema.sql is a migration of its own."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
oldest_code = "0001"


def upgrade() -> None:
    sql = Path(__file__).with_suffix(".sql").read_text()
    # Without parameters the driver sends it all at once and takes no % for a placeholder.
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
