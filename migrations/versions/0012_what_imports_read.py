"""Imports keep what they read, several keys of one line, and lines that are unlike the others."""

from alembic import op

revision = "0012"
down_revision = "0011"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE batch ADD COLUMN read json")
    op.execute("ALTER TABLE batch_chunk ADD COLUMN parts int[]")
    op.execute("""
        ALTER TABLE batch_line
            ADD COLUMN part int NOT NULL DEFAULT 1,
            ADD COLUMN unlike boolean NOT NULL DEFAULT false,
            DROP CONSTRAINT batch_line_pkey,
            ADD PRIMARY KEY (batch_id, line, part)
    """)
    op.execute("""
        CREATE FUNCTION known_keys(canonicals text[]) RETURNS SETOF text
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
            SELECT canonical FROM key WHERE canonical = ANY (canonicals COLLATE "C")
        $$
    """)
    op.execute("REVOKE ALL ON FUNCTION known_keys(text[]) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION known_keys(text[]) TO keypool_web")
