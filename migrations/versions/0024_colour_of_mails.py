"""An organization has a colour, which its mails have on top."""

from alembic import op

revision = "0024"
down_revision = "0023"
oldest_code = "0018"


def upgrade() -> None:
    op.execute("""
    ALTER TABLE organization
        ADD COLUMN colour text NOT NULL DEFAULT '',
        ADD CONSTRAINT organization_colour_is_a_code CHECK (colour ~ '^(#[0-9a-f]{6})?$');
    COMMENT ON CONSTRAINT organization_colour_is_a_code ON organization
        IS 'invalid_input(colour): A colour is written in six hexadecimal digits, such as #0b5fa5.';
    """)
