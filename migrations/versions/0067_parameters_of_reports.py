"""A report has the parameters of its notebook."""

from alembic import op

revision = "0067"
down_revision = "0066"
oldest_code = "0055"


def upgrade() -> None:
    """Add them, empty; older code makes reports without any."""
    op.execute("""
ALTER TABLE report_run ADD parameters jsonb NOT NULL DEFAULT '{}';
ALTER TABLE report_run ADD CONSTRAINT report_has_a_few_parameters
    CHECK (jsonb_typeof(parameters) = 'object' AND octet_length(parameters::text) <= 4000);
COMMENT ON CONSTRAINT report_has_a_few_parameters ON report_run
    IS 'invalid_input(parameters): The parameters of a report have at most 4,000 characters in all.';
-- Who erases a person replaces the address in them.
GRANT UPDATE (parameters) ON report_run TO keypool_web;
    """)
