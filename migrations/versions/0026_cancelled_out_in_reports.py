"""Reports know which charges cancelled out, and stand on no invoice."""

from alembic import op

revision = "0026"
down_revision = "0025"
oldest_code = "0023"


def upgrade() -> None:
    op.execute("""
CREATE OR REPLACE VIEW report.charge WITH (security_barrier) AS
SELECT charge.id, charge.kind::text AS kind, organization.name AS organization,
       learner_organization.name AS learner_organization, course.code AS course, pool.name AS pool,
       charge.assignment_id, charge.amount, charge.currency, charge.occurred_at,
       there.occurred::date AS day, date_trunc('month', there.occurred)::date AS service_month,
       charge.unbilled,
       (SELECT invoice_charge.invoice_id FROM invoice_charge
         WHERE invoice_charge.charge_id = charge.id AND invoice_charge.released_at IS NULL) AS invoice_id,
       (SELECT key.labels FROM assignment JOIN key ON key.id = assignment.key_id
         WHERE assignment.id = charge.assignment_id) AS labels,
       EXISTS (SELECT FROM charge_cancelled_out WHERE charge_id = charge.id) AS cancelled_out
  FROM charge
  JOIN organization ON organization.id = charge.organization_id
  JOIN organization AS learner_organization ON learner_organization.id = charge.learner_organization_id
  JOIN course ON course.id = charge.course_id
  JOIN pool ON pool.id = charge.pool_id
 CROSS JOIN LATERAL (SELECT charge.occurred_at AT TIME ZONE organization.time_zone AS occurred) AS there
 WHERE (charge.organization_id IN (SELECT report.visible_organization())) IS TRUE;
""")
