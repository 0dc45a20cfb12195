"""Old charges get their tax rate: that of their invoice, else the one in force when they occurred (B6)."""

from alembic import op

from worker.database import steps

revision = "0019"
down_revision = "0018"
oldest_code = "0018"
transactional = False
changes = {
    "invoice": "Drafts are taxed by the rates of their charges.",
    "invoice_line": "A draft's lines have one rate each.",
    "invoice_share": "They follow their lines.",
    "invoice_charge": "They follow their lines.",
}


def upgrade() -> None:
    steps.fill("charge", CHARGES)
    steps.fill("charge", CREDITS)
    op.execute(DRAFTS)
    op.execute(RULES)
    op.execute("ALTER TABLE charge VALIDATE CONSTRAINT charge_has_a_tax_rate_of_its_owner")


# An organization's first rate counted for everything before it, too.
CHARGES = """
    UPDATE charge SET tax_rate_id = known.tax_rate_id
      FROM (SELECT charge.id, CASE WHEN invoice.id IS NOT NULL THEN line.tax_rate_id ELSE (
                   SELECT tax_rate.id FROM tax_rate
                    WHERE tax_rate.organization_id = charge.organization_id AND valid_from IS NOT NULL
                    ORDER BY valid_from <= charge.occurred_at DESC,
                             CASE WHEN valid_from <= charge.occurred_at THEN valid_from END DESC,
                             valid_from LIMIT 1) END AS tax_rate_id
              FROM charge
              LEFT JOIN invoice_charge ON charge_id = charge.id AND released_at IS NULL
              LEFT JOIN invoice ON invoice.id = invoice_charge.invoice_id AND status IN ('finalized', 'paid')
              LEFT JOIN invoice_line AS line ON line.id = invoice_charge.line_id
             WHERE charge.id > :after AND charge.id <= :upto
               AND (charge.kind <> 'credit' OR invoice.id IS NOT NULL)) AS known
     WHERE charge.id = known.id AND charge.id > :after AND charge.id <= :upto
       AND charge.tax_rate_id IS DISTINCT FROM known.tax_rate_id
"""

CREDITS = """
    UPDATE charge SET tax_rate_id = credited.tax_rate_id
      FROM charge AS credited
     WHERE charge.id > :after AND charge.id <= :upto AND credited.id = charge.credits_id
       AND charge.tax_rate_id IS DISTINCT FROM credited.tax_rate_id
       AND NOT EXISTS (SELECT FROM invoice_charge JOIN invoice ON invoice.id = invoice_id
                        WHERE charge_id = charge.id AND released_at IS NULL
                          AND status IN ('finalized', 'paid'))
"""

# One statement, so that a kill leaves all or nothing of it: drafts' lines are made anew, a rate each.
DRAFTS = """
DO $$
BEGIN
    ALTER TABLE invoice_charge DISABLE TRIGGER USER;
    ALTER TABLE invoice_share DISABLE TRIGGER USER;
    ALTER TABLE invoice_line DISABLE TRIGGER USER;

    CREATE TEMP TABLE supply ON COMMIT DROP AS
    SELECT carried.invoice_id, carried.line_id AS old_line, charge.id AS charge_id,
           charge.learner_organization_id, charge.tax_rate_id, NULL::bigint AS line_id
      FROM invoice_charge AS carried
      JOIN invoice ON invoice.id = carried.invoice_id AND status = 'draft'
      JOIN charge ON charge.id = carried.charge_id
     WHERE carried.released_at IS NULL;
    DELETE FROM invoice_share WHERE line_id IN (SELECT old_line FROM supply);

    -- A line keeps its id for one of its rates.
    UPDATE supply SET line_id = supply.old_line
      FROM (SELECT DISTINCT ON (old_line) old_line AS line, tax_rate_id
              FROM supply ORDER BY old_line, tax_rate_id) AS kept
     WHERE kept.line = supply.old_line AND kept.tax_rate_id IS NOT DISTINCT FROM supply.tax_rate_id;
    UPDATE invoice_line SET tax_rate_id = kept.tax_rate_id, quantity = kept.quantity,
                            amount = kept.quantity * unit_price
      FROM (SELECT line_id, tax_rate_id, count(*) AS quantity
              FROM supply WHERE line_id IS NOT NULL GROUP BY 1, 2) AS kept
     WHERE invoice_line.id = kept.line_id;
    INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month, unit_price, tax_rate_id,
                              quantity, amount)
    SELECT line.invoice_id, course_id, pool_id, kind, service_month, unit_price, supply.tax_rate_id,
           count(*), count(*) * unit_price
      FROM supply JOIN invoice_line AS line ON line.id = old_line
     WHERE supply.line_id IS NULL GROUP BY 1, 2, 3, 4, 5, 6, 7;
    UPDATE supply SET line_id = made.id
      FROM invoice_line AS line, invoice_line AS made
     WHERE supply.line_id IS NULL AND line.id = supply.old_line AND made.invoice_id = line.invoice_id
       AND (made.course_id, made.pool_id, made.kind, made.service_month, made.unit_price)
         = (line.course_id, line.pool_id, line.kind, line.service_month, line.unit_price)
       AND made.tax_rate_id IS NOT DISTINCT FROM supply.tax_rate_id;

    UPDATE invoice_charge SET line_id = supply.line_id
      FROM supply
     WHERE invoice_charge.invoice_id = supply.invoice_id AND invoice_charge.charge_id = supply.charge_id
       AND supply.line_id <> supply.old_line;
    INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
    SELECT invoice_id, line_id, learner_organization_id, count(*) FROM supply GROUP BY 1, 2, 3;

    ALTER TABLE invoice_charge ENABLE TRIGGER USER;
    ALTER TABLE invoice_share ENABLE TRIGGER USER;
    ALTER TABLE invoice_line ENABLE TRIGGER USER;

    INSERT INTO invoice_tax (invoice_id, tax_rate_id, subtotal, tax)
    SELECT draft.id, tax_rate_id, sum(amount),
           round(sum(amount) * coalesce(percent, 0) * 0.01, minor_unit(currency))
      FROM invoice AS draft
      JOIN invoice_line ON invoice_line.invoice_id = draft.id
      LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
     WHERE draft.status = 'draft'
     GROUP BY draft.id, tax_rate_id, percent
    ON CONFLICT ON CONSTRAINT invoice_is_taxed_once_a_rate
    DO UPDATE SET subtotal = excluded.subtotal, tax = excluded.tax;
    UPDATE invoice SET subtotal = sums.subtotal, tax = sums.tax, total = sums.subtotal + sums.tax
      FROM (SELECT invoice_id, sum(subtotal) AS subtotal, sum(tax) AS tax
              FROM invoice_tax GROUP BY invoice_id) AS sums
     WHERE invoice.id = sums.invoice_id AND status = 'draft';
END
$$
"""

RULES = """
ALTER TABLE charge DROP CONSTRAINT IF EXISTS charge_has_a_tax_rate_of_its_owner;
ALTER TABLE charge ADD CONSTRAINT charge_has_a_tax_rate_of_its_owner
    FOREIGN KEY (tax_rate_id, organization_id) REFERENCES tax_rate (id, organization_id)
    ON DELETE RESTRICT NOT VALID;

CREATE OR REPLACE TRIGGER charge_is_never_rewritten
    BEFORE UPDATE OF id, kind, organization_id, learner_organization_id, course_id, pool_id,
                     assignment_id, credits_id, amount, currency, occurred_at, tax_rate_id
    OR DELETE ON charge
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_a_charge();

CREATE OR REPLACE FUNCTION refuse_credit_beyond_its_charge() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    credited charge;
BEGIN
    SELECT * INTO credited FROM charge WHERE id = NEW.credits_id FOR NO KEY UPDATE;
    IF credited.kind = 'credit' OR credited.currency <> NEW.currency
       OR credited.organization_id <> NEW.organization_id
       OR credited.tax_rate_id IS DISTINCT FROM NEW.tax_rate_id
       OR credited.amount + NEW.amount + coalesce(
           (SELECT sum(amount) FROM charge WHERE credits_id = NEW.credits_id), 0) < 0 THEN
        RAISE EXCEPTION 'the credits of a charge cannot exceed it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'credits_stay_within_their_charge';
    END IF;
    RETURN NEW;
END
$$;
"""
