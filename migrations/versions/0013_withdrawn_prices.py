"""An organization's own price can be withdrawn from a day on (B1)."""

from alembic import op

revision = "0013"
down_revision = "0012"
oldest_code = "0010"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE price
            ADD COLUMN valid_until timestamptz,
            ADD CONSTRAINT price_ends_after_it_began CHECK (valid_until >= valid_from),
            ADD CONSTRAINT list_price_never_ends CHECK (organization_id IS NOT NULL OR valid_until IS NULL)
    """)
    op.execute("""
        CREATE OR REPLACE FUNCTION price_in_force(course_id bigint, organization_id bigint, at timestamptz)
        RETURNS TABLE (amount numeric, currency char(3), price_id bigint)
        LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 BEGIN ATOMIC
            SELECT nearest.amount, nearest.currency, nearest.id
              FROM (SELECT above.distance, own.amount, own.currency, own.id
                      FROM organization_ancestry AS above
                     CROSS JOIN LATERAL (
                           SELECT price.amount, price.currency, price.id, price.valid_until FROM price
                            WHERE price.course_id = price_in_force.course_id
                              AND price.organization_id = above.ancestor_id
                              AND price.valid_from <= price_in_force.at
                              AND (price.valid_until > price.valid_from) IS NOT FALSE
                            ORDER BY price.valid_from DESC LIMIT 1) AS own
                     WHERE above.descendant_id = price_in_force.organization_id
                       AND (own.valid_until > price_in_force.at) IS NOT FALSE
                    UNION ALL
                    (SELECT NULL::int AS distance, price.amount, price.currency, price.id FROM price
                      WHERE price.course_id = price_in_force.course_id
                        AND price.organization_id IS NULL
                        AND price.valid_from <= price_in_force.at
                      ORDER BY price.valid_from DESC LIMIT 1)) AS nearest
             ORDER BY nearest.distance NULLS LAST LIMIT 1;
        END
    """)
