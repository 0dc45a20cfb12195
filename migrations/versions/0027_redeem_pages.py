"""An organization has a slug and the settings of its redeem page."""

from alembic import op

revision = "0027"
down_revision = "0026"
oldest_code = "0023"


def upgrade() -> None:
    op.execute(r"""
    CREATE TYPE redeem_page AS ENUM ('off', 'proof', 'open');
    CREATE FUNCTION slug_of(name text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(nullif(btrim(left(regexp_replace(lower(regexp_replace(normalize(
        replace(replace(replace(replace(replace(replace(replace(replace(
            name, 'ä', 'ae'), 'ö', 'oe'), 'ü', 'ue'), 'Ä', 'ae'), 'Ö', 'oe'), 'Ü', 'ue'), 'ß', 'ss'), 'ø', 'o'),
        NFKD), '[\u0300-\u036f]', '', 'g')), '[^a-z0-9]+', '-', 'g'), 48), '-'), ''), 'organization');
    CREATE FUNCTION give_organization_a_slug() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        made text := slug_of(NEW.name);
        n    int  := 1;
    BEGIN
        -- The lock that keep_organization_ancestry takes anyway: two equal names come one after the other.
        PERFORM pg_advisory_xact_lock(hashtext('keypool.organization_ancestry'));
        NEW.slug := made;
        WHILE EXISTS (SELECT FROM organization WHERE slug = NEW.slug AND id <> NEW.id) LOOP
            n := n + 1;
            NEW.slug := made || '-' || n;
        END LOOP;
        RETURN NEW;
    END
    $$;
    ALTER TABLE organization
        ADD COLUMN slug             text,
        ADD COLUMN redeem_page      redeem_page NOT NULL DEFAULT 'off',
        ADD COLUMN redeem_domains   text[]      NOT NULL DEFAULT '{}',
        ADD COLUMN redeem_languages text[]      NOT NULL DEFAULT '{}',
        ADD COLUMN redeem_text      text        NOT NULL DEFAULT '',
        ADD COLUMN support_email    text        NOT NULL DEFAULT '',
        ADD CONSTRAINT organization_slug_is_unique UNIQUE (slug),
        ADD CONSTRAINT organization_slug_is_an_address
            CHECK (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(slug) <= 60),
        ADD CONSTRAINT organization_redeem_text_is_short CHECK (length(redeem_text) <= 2000),
        ADD CONSTRAINT organization_redeem_domains_are_few CHECK (cardinality(redeem_domains) <= 100);
    CREATE TRIGGER organization_has_a_slug BEFORE INSERT OR UPDATE OF slug ON organization
        FOR EACH ROW WHEN (NEW.slug = '') EXECUTE FUNCTION give_organization_a_slug();
    UPDATE organization SET slug = '';
    ALTER TABLE organization ALTER COLUMN slug SET DEFAULT '', ALTER COLUMN slug SET NOT NULL;
    COMMENT ON CONSTRAINT organization_slug_is_unique ON organization
        IS 'already_exists: Another organization has that slug already; choose another.';
    COMMENT ON CONSTRAINT organization_slug_is_an_address ON organization
        IS 'invalid_input(slug): A slug has up to 60 lower-case letters, digits and single hyphens: acme-hr.';
    COMMENT ON CONSTRAINT organization_redeem_text_is_short ON organization
        IS 'invalid_input(redeem_text): The text of a redeem page has up to 2,000 characters.';
    COMMENT ON CONSTRAINT organization_redeem_domains_are_few ON organization
        IS 'invalid_input(redeem_domains): A redeem page allows up to 100 domains.';
    """)
