"""Keys count in full-width letters, too: NFKC comes before a key's canonical form."""

from alembic import op

revision = "0004"
down_revision = "0003"
oldest_code = "0001"


def upgrade() -> None:
    # No key has another canonical form by it: keys are of ASCII (K2).
    op.execute("""
        CREATE OR REPLACE FUNCTION canonical_code(code text) RETURNS text
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN upper(CASE
            WHEN code COLLATE "C" !~ '[^A-Za-z0-9_. -]'
                THEN replace(replace(replace(replace(code, '-', ''), ' ', ''), '.', ''), '_', '')
            ELSE regexp_replace(normalize(code, NFKC), '[^A-Za-z0-9]', '', 'g')
        END COLLATE "C")
    """)
