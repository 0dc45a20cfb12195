"""The first visitors of a redeem page, at once, get one source."""

from alembic import op

revision = "0040"
down_revision = "0039"
oldest_code = "0037"


def upgrade() -> None:
    op.execute("""
    CREATE OR REPLACE FUNCTION page_source(of_organization bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DECLARE
        known bigint;
    BEGIN
        SELECT id INTO known FROM source WHERE organization_id = of_organization AND kind = 'page';
        IF known IS NULL THEN
            -- A source of a person's may have that name.
            INSERT INTO source (organization_id, name, kind)
            SELECT id, CASE WHEN taken THEN 'Redeem page ' || gen_random_uuid() ELSE 'Redeem page' END, 'page'
              FROM organization
             CROSS JOIN (SELECT EXISTS (SELECT FROM source WHERE organization_id = of_organization
                                                             AND name = 'Redeem page') AS taken) AS names
             WHERE id = of_organization AND redeem_page <> 'off'
            ON CONFLICT DO NOTHING;  -- another visitor was first
            SELECT id INTO known FROM source WHERE organization_id = of_organization AND kind = 'page';
        END IF;
        RETURN known;
    END
    $$;
    """)
