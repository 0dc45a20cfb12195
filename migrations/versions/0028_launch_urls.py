"""A course has a launch URL, and a secret that signs the links to it."""

from alembic import op

revision = "0028"
down_revision = "0027"
oldest_code = "0023"


def upgrade() -> None:
    op.execute("""
    ALTER TABLE course
        ADD COLUMN launch_url    text NOT NULL DEFAULT '',
        ADD COLUMN launch_secret_encrypted bytea,
        ADD CONSTRAINT course_launch_url_is_an_address
            CHECK (launch_url ~ '^(https?://[^/?#@[:space:]]+[^[:space:]]*)?$' AND length(launch_url) <= 2000),
        ADD CONSTRAINT course_is_launched_with_a_secret
            CHECK (launch_url = '' OR launch_secret_encrypted IS NOT NULL);
    COMMENT ON CONSTRAINT course_launch_url_is_an_address ON course
        IS 'invalid_input(launch_url): A launch URL begins with https:// or http://, and has no spaces.';
    """)
