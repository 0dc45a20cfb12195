"""The first release's schema.

Until the first release is tagged, 0001_initial.sql is a copy of schema.sql, and a test compares
the two databases that they make:

    cp schema.sql migrations/versions/0001_initial.sql

From then on it is frozen, and every change of schema.sql comes with a migration of its own.
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    sql = Path(__file__).with_suffix(".sql").read_text()
    # Without parameters the driver sends it all at once and takes no % for a placeholder.
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
