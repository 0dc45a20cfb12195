"""Name a column that a dump names for itself, so that a restored database is found alike."""

from alembic import op

revision = "0009"
down_revision = "0008"
oldest_code = "0001"


def upgrade() -> None:
    op.execute("""
CREATE OR REPLACE FUNCTION price_in_force(course_id bigint, organization_id bigint, at timestamptz)
RETURNS TABLE (amount numeric, currency char(3), price_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 BEGIN ATOMIC
    SELECT nearest.amount, nearest.currency, nearest.id
      FROM (SELECT above.distance, own.amount, own.currency, own.id
              FROM organization_ancestry AS above
             CROSS JOIN LATERAL (
                   SELECT price.amount, price.currency, price.id FROM price
                    WHERE price.course_id = price_in_force.course_id
                      AND price.organization_id = above.ancestor_id
                      AND price.valid_from <= price_in_force.at
                    ORDER BY price.valid_from DESC LIMIT 1) AS own
             WHERE above.descendant_id = price_in_force.organization_id
            UNION ALL
            (SELECT NULL::int AS distance, price.amount, price.currency, price.id FROM price
              WHERE price.course_id = price_in_force.course_id
                AND price.organization_id IS NULL
                AND price.valid_from <= price_in_force.at
              ORDER BY price.valid_from DESC LIMIT 1)) AS nearest
     ORDER BY nearest.distance NULLS LAST LIMIT 1;
END;
    """)
