"""Keys are found by their labels."""

from alembic import op

from worker.database import steps

revision = "0017"
down_revision = "0016"
oldest_code = "0001"
transactional = False


def upgrade() -> None:
    for table in ("batch", "key"):
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_labels_are_a_few_words")
    steps.build_index("key_by_label", "ON key USING gin (labels) WHERE labels IS NOT NULL")
