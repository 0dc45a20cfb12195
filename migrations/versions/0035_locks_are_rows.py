"""Locks are rows that only the owner's login may lock."""

from alembic import op

revision = "0035"
down_revision = "0034"
oldest_code = "0035"  # older code takes other locks


def upgrade() -> None:
    op.execute("""
    CREATE TABLE lock (
        name text PRIMARY KEY
    );

    INSERT INTO lock VALUES
        ('ancestry'), ('delivering'), ('erasing'), ('folding'), ('journals'), ('mailing'), ('proving'),
        ('reporting'), ('settling');

    CREATE TABLE tree_lock (
        root_id bigint PRIMARY KEY REFERENCES organization ON DELETE CASCADE
    );

    CREATE FUNCTION await_settlers(organizations bigint[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        held  bigint[] := '{}';
        roots bigint[];
    BEGIN
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

    CREATE FUNCTION await_lock(wanted text, shared boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF wanted NOT IN ('erasing', 'journals') THEN
            RAISE EXCEPTION 'the lock % is the worker''s', wanted USING ERRCODE = 'insufficient_privilege';
        ELSIF shared THEN
            PERFORM FROM lock WHERE name = wanted FOR SHARE;
        ELSE
            PERFORM FROM lock WHERE name = wanted FOR UPDATE;
        END IF;
    END
    $$;

    REVOKE ALL ON FUNCTION await_settlers(bigint[]), await_lock(text, boolean) FROM PUBLIC;
    GRANT EXECUTE ON FUNCTION await_settlers(bigint[]), await_lock(text, boolean) TO keypool_web;

    CREATE TABLE pool_turn (
        pool_id bigint PRIMARY KEY REFERENCES pool ON DELETE CASCADE
    );

    CREATE OR REPLACE FUNCTION give_organization_a_slug() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        made text := slug_of(NEW.name);
        n    int  := 1;
    BEGIN
        -- The lock that keep_organization_ancestry takes anyway: two equal names come one after the other.
        PERFORM FROM lock WHERE name = 'ancestry' FOR UPDATE;
        NEW.slug := made;
        WHILE EXISTS (SELECT FROM organization WHERE slug = NEW.slug AND id <> NEW.id) LOOP
            n := n + 1;
            NEW.slug := made || '-' || n;
        END LOOP;
        RETURN NEW;
    END
    $$;

    CREATE OR REPLACE FUNCTION keep_organization_ancestry() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        -- One change of the tree at a time: two crossing moves could close a circle that neither sees.
        PERFORM FROM lock WHERE name = 'ancestry' FOR UPDATE;
        IF TG_OP = 'INSERT' THEN
            INSERT INTO organization_ancestry VALUES (NEW.id, NEW.id, 0);
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

    CREATE OR REPLACE FUNCTION begin_page_session(
        of_hash bytea, of_organization bigint, of_email text, of_client bytea, in_language text, asked bytea,
        with_code boolean, with_mail boolean, per_address bigint, per_client bigint
    ) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        since timestamptz := clock_now() - interval '1 day';
        mail  bigint;
    BEGIN
        IF with_code THEN
            PERFORM FROM lock WHERE name = 'proving' FOR UPDATE;
            IF per_address <= (SELECT count(*) FROM page_session
                                WHERE email_lower = lower(of_email) AND began_at > since
                                  AND needs_code AND proved_at IS NULL)
               OR per_client <= (SELECT count(*) FROM page_session
                                  WHERE client_hash = of_client AND began_at > since
                                    AND needs_code AND proved_at IS NULL) THEN
                RETURN false;
            END IF;
        END IF;
        IF with_mail THEN
            INSERT INTO message (organization_id, kind, recipient, data)
            VALUES (of_organization, 'code', of_email, jsonb_build_object('language', in_language))
            RETURNING id INTO mail;
        END IF;
        INSERT INTO page_session (hash, organization_id, email, client_hash, language, asked_encrypted,
                                  needs_code, message_id)
        VALUES (of_hash, of_organization, of_email, of_client, in_language, asked, with_code, mail);
        RETURN true;
    END
    $$;

    ALTER TABLE lock      ENABLE ROW LEVEL SECURITY;
    ALTER TABLE tree_lock ENABLE ROW LEVEL SECURITY;
    ALTER TABLE pool_turn ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenancy ON pool_turn TO keypool_web
        USING ((SELECT sees_everything()) OR pool_id IN (SELECT id FROM pool));
    GRANT SELECT, INSERT, UPDATE ON pool_turn TO keypool_web;
    """)
