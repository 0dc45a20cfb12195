"""Several settlers at once, each in trees of its own."""

from alembic import op

from worker.database import steps

revision = "0057"
down_revision = "0056"
oldest_code = "0054"  # older settlers claim as before, and decide under the same locks of trees
transactional = False

SETTLEMENT = """
    ALTER TABLE settlement
        ADD COLUMN IF NOT EXISTS root_id bigint REFERENCES organization ON DELETE RESTRICT,
        ADD COLUMN IF NOT EXISTS size    int NOT NULL DEFAULT 1,
        DROP CONSTRAINT IF EXISTS settlement_is_a_trees_only_one,
        ADD CONSTRAINT settlement_is_a_trees_only_one UNIQUE (root_id)
"""

ANCESTRY = """
CREATE OR REPLACE FUNCTION keep_organization_ancestry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- One change of the tree at a time: two crossing moves could close a circle that neither sees.
    PERFORM FROM lock WHERE name = 'ancestry' FOR UPDATE;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO organization_ancestry VALUES (NEW.id, NEW.id, 0);
        INSERT INTO tree_lock VALUES (NEW.id);
    ELSE
        -- A settler is at work in neither of the two trees.
        PERFORM await_settlers(array_remove(ARRAY[NEW.id, NEW.parent_id], NULL));
        IF EXISTS (SELECT FROM organization_ancestry
                   WHERE ancestor_id = NEW.id AND descendant_id = NEW.parent_id) THEN
            RAISE EXCEPTION 'organization % cannot be below its own descendant', NEW.name
                USING ERRCODE = 'check_violation', CONSTRAINT = 'organizations_form_a_tree';
        END IF;
        DELETE FROM organization_ancestry USING organization_ancestry below
         WHERE below.ancestor_id = NEW.id
           AND organization_ancestry.descendant_id = below.descendant_id
           AND organization_ancestry.ancestor_id NOT IN (
               SELECT descendant_id FROM organization_ancestry WHERE ancestor_id = NEW.id);
    END IF;
    INSERT INTO organization_ancestry
    SELECT above.ancestor_id, below.descendant_id, above.distance + below.distance + 1
      FROM organization_ancestry above, organization_ancestry below
     WHERE above.descendant_id = NEW.parent_id AND below.ancestor_id = NEW.id;
    IF NEW.parent_id IS NOT NULL AND NOT FOUND THEN
        RAISE EXCEPTION 'organization % comes before its parent', NEW.name
            USING ERRCODE = 'check_violation', CONSTRAINT = 'organizations_form_a_tree';
    END IF;
    RETURN NEW;
END
$$;
"""

AWAIT_SETTLERS = """
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
        PERFORM FROM tree_lock WHERE root_id = ANY (roots) ORDER BY root_id FOR UPDATE;
        held := held || roots;
    END LOOP;
END
$$;
"""


def upgrade() -> None:
    """Give every organization its lock, settlers theirs, and claims their tree."""
    op.execute(SETTLEMENT)
    op.execute("CREATE TABLE IF NOT EXISTS settler (number int PRIMARY KEY)")
    op.execute("ALTER TABLE settler ENABLE ROW LEVEL SECURITY")
    op.execute("INSERT INTO settler SELECT generate_series(1, 64) ON CONFLICT DO NOTHING")
    op.execute(ANCESTRY)  # organizations that come meanwhile have their locks
    op.execute("INSERT INTO tree_lock SELECT id FROM organization ON CONFLICT DO NOTHING")
    op.execute(AWAIT_SETTLERS)  # relies on the locks that are there
    steps.build_index(
        "event_unsettled_by_organization",
        "ON event (organization_id, received_at, id)"
        " WHERE status = 'recorded' AND waits_for IS NULL",
    )
