"""Keys and events are vacuumed when a fiftieth of them changed, not a fifth."""

from alembic import op

revision = "0055"
down_revision = "0054"
oldest_code = "0053"


def upgrade() -> None:
    """Set autovacuum for the two tables whose rows are all updated; nobody waits for the lock that it takes."""
    for table in ("key", "event"):
        op.execute(f"""
        ALTER TABLE {table} SET (
            autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02,
            autovacuum_analyze_scale_factor = 0.02)
        """)
