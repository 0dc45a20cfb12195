"""An organization has a logo."""

from alembic import op

revision = "0029"
down_revision = "0028"
oldest_code = "0023"


def upgrade() -> None:
    op.execute(r"""
    CREATE TABLE organization_logo (
        organization_id bigint PRIMARY KEY REFERENCES organization ON DELETE RESTRICT,
        content         bytea  NOT NULL,
        width           int    NOT NULL,
        height          int    NOT NULL,

        CONSTRAINT organization_logo_is_a_small_png
            CHECK (substr(content, 1, 8) = '\x89504e470d0a1a0a' AND length(content) <= 200000),
        CONSTRAINT organization_logo_has_a_size
            CHECK (width >= 1 AND width <= 480 AND height >= 1 AND height <= 160)
    );
    ALTER TABLE organization_logo ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON organization_logo TO keypool_web
        USING ((SELECT sees_everything()) OR organization_id IN (SELECT visible_organization()));
    GRANT SELECT, INSERT, UPDATE, DELETE ON organization_logo TO keypool_web;
    """)
