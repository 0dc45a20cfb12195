"""The web's login takes locks for a request that it serves, and all settlers' for the operator's alone."""

from alembic import op

revision = "0049"
down_revision = "0048"
oldest_code = "0048"


def upgrade() -> None:
    """Refuse locks where nobody has entered."""
    op.execute("""
CREATE OR REPLACE FUNCTION refuse_locks_to_nobody(all_trees boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF session_user = 'keypool_web'
       AND (all_trees AND NOT sees_everything()
            OR NOT is_sealed(coalesce(current_setting('keypool.entered', true), ''))) THEN
        RAISE EXCEPTION 'nobody has entered who may wait for it' USING ERRCODE = 'insufficient_privilege';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION await_settlers(organizations bigint[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    held  bigint[] := '{}';
    roots bigint[];
BEGIN
    PERFORM refuse_locks_to_nobody(organizations IS NULL);
    LOOP
        roots := ARRAY(SELECT DISTINCT ON (descendant_id) ancestor_id FROM organization_ancestry
                        WHERE organizations IS NULL OR descendant_id = ANY (organizations)
                        ORDER BY descendant_id, distance DESC);
        EXIT WHEN roots <@ held;
        INSERT INTO tree_lock SELECT DISTINCT unnest(roots) ORDER BY 1 ON CONFLICT DO NOTHING;
        PERFORM FROM tree_lock WHERE root_id = ANY (roots) ORDER BY root_id FOR UPDATE;
        held := held || roots;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION await_lock(wanted text, shared boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF wanted NOT IN ('erasing', 'journals') THEN
        RAISE EXCEPTION 'the lock % is the worker''s', wanted USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM refuse_locks_to_nobody(false);
    IF shared THEN
        PERFORM FROM lock WHERE name = wanted FOR SHARE;
    ELSE
        PERFORM FROM lock WHERE name = wanted FOR UPDATE;
    END IF;
END
$$;
    """)
    op.execute("REVOKE ALL ON FUNCTION refuse_locks_to_nobody(boolean) FROM PUBLIC")
