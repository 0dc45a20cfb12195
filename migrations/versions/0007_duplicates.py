"""Learners can be known as duplicates of one another."""

from alembic import op

revision = "0007"
down_revision = "0006"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE learner
            ADD COLUMN duplicate_of bigint,
            ADD COLUMN joined_at    timestamptz,
            ADD CONSTRAINT learner_duplicate_of_fkey FOREIGN KEY (duplicate_of)
                REFERENCES learner ON DELETE RESTRICT NOT VALID,
            ADD CONSTRAINT learner_is_joined_to_another
                CHECK (joined_at IS NULL OR duplicate_of IS NOT NULL) NOT VALID
    """)
    op.execute("""
        CREATE INDEX learner_duplicates ON learner (duplicate_of) WHERE duplicate_of IS NOT NULL
    """)
