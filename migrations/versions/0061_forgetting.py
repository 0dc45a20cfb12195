"""The sweep may remove history that is past its retention, where a setting gives it one."""

from alembic import op

revision = "0061"
down_revision = "0060"
oldest_code = "0055"


def upgrade() -> None:
    """Let a transaction that says so delete history; only the owner's login has that right."""
    op.execute("""
CREATE OR REPLACE FUNCTION refuse_rewriting_history() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- The sweep removes what is past its retention; it says so for its own transaction, and may delete.
    IF TG_OP = 'DELETE' AND current_setting('keypool.forgetting', true) = 'on' THEN
        RETURN NULL;
    END IF;
    -- Erasing a person's data replaces names inside detail; it says so for its own transaction.
    IF TG_OP = 'UPDATE' AND current_setting('keypool.erasing', true) = 'on'
       AND (NEW.id, NEW.at, NEW.organization_id, NEW.action, NEW.thing, NEW.thing_id)
           IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.organization_id, OLD.action, OLD.thing, OLD.thing_id) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'history is never rewritten'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_never_rewritten';
END
$$;
    """)
