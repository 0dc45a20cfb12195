"""The database tells mistyped keys from unknown ones, so that one statement decides a batch and writes it."""

from alembic import op

revision = "0079"
down_revision = "0078"
oldest_code = "0055"

IS_MISTYPED = r"""
CREATE FUNCTION is_mistyped(canonical text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    alphabet CONSTANT text := '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    symbols CONSTANT text COLLATE "C" := translate(canonical, 'OIL', '011');
    rest int := 0;
BEGIN
    IF symbols !~ '^[A-HJKMNP-TV-Z][0-9A-HJKMNP-TV-Z]{15}$' THEN
        RETURN false;
    END IF;
    FOR place IN 1..15 LOOP
        rest := rest # (strpos(alphabet, substr(symbols, place, 1)) - 1);
        rest := rest << 1 # CASE WHEN rest >= 16 THEN 37 ELSE 0 END;
    END LOOP;
    RETURN substr(alphabet, rest + 1, 1) <> right(symbols, 1);
END
$$
"""


def upgrade() -> None:
    """Add a function; older code does not know it, and still runs."""
    op.get_bind().exec_driver_sql(IS_MISTYPED, execution_options={"no_parameters": True})
