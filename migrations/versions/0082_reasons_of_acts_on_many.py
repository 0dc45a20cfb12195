"""An erasure over the web takes a person out of the reasons of acts on many rows."""

from alembic import op

revision = "0082"
down_revision = "0081"
oldest_code = "0055"


def upgrade() -> None:
    """Let the web write what an act takes; older code does not, and still runs."""
    op.execute("GRANT UPDATE (how) ON bulk_act TO keypool_web")
