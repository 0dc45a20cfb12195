"""One place says whether an event is undecided."""

from alembic import op

revision = "0011"
down_revision = "0010"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION is_undecided(status event_status, waits_for text) RETURNS boolean
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN status = 'recorded' AND waits_for IS NULL
    """)
