"""One look-up of keys (K4), and guards of CSV that can be told from a text's own apostrophe."""

from alembic import op

revision = "0005"
down_revision = "0004"
oldest_code = "0001"


def upgrade() -> None:
    op.execute(r"""
CREATE FUNCTION meant_key(canonical text)
RETURNS TABLE (id bigint, pool_id bigint, state key_state)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 BEGIN ATOMIC
    SELECT coalesce(exact.id, lookalike.id), coalesce(exact.pool_id, lookalike.pool_id),
           coalesce(exact.state, lookalike.state)
      FROM (SELECT) AS typed
      LEFT JOIN key AS exact ON exact.canonical = meant_key.canonical
      LEFT JOIN key AS lookalike ON lookalike.generated AND lookalike.canonical
            = CASE WHEN exact.id IS NULL THEN translate(meant_key.canonical, 'OIL', '011') END;
END;

CREATE OR REPLACE FUNCTION csv_cell(value text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN value IS NULL THEN ''
    WHEN value ~ '^[A-Za-z0-9][^",;\t\r\n]*$' THEN value
    WHEN value ~ '^''*\s*[-=+@\t\r＝＋－＠]' THEN '"''' || replace(value, '"', '""') || '"'
    WHEN value ~ '[",;\t\r\n]' THEN '"' || replace(value, '"', '""') || '"'
    ELSE value
END;
    """)
