"""${message}."""

from alembic import op

revision = "${up_revision}"
down_revision = "${down_revision}"
oldest_code = "${up_revision}"


def upgrade() -> None:
    op.execute("""
    """)
