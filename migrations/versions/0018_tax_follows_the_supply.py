"""Each charge, line and invoice has the tax rate of its day; old invoices keep their figures (B6)."""

from alembic import op

revision = "0018"
down_revision = "0017"
oldest_code = "0018"  # which writes the rate with each charge, and taxes by rate
changes = {
    "tax_rate": "Rates that only old invoices still have come in.",
    "invoice.tax_percent": "It is that of the invoice's rate.",
    "invoice.tax_label": "It is that of the invoice's rate.",
}


def upgrade() -> None:
    op.execute(RATES)
    op.execute(TABLES)
    op.execute(OLD_INVOICES)
    op.execute("ALTER TABLE invoice DROP COLUMN tax_percent, DROP COLUMN tax_label")
    op.execute("DROP FUNCTION tax_in_force(bigint, date)")


RATES = """
ALTER TABLE tax_rate ADD COLUMN category text, ADD COLUMN exemption text NOT NULL DEFAULT '',
    ALTER COLUMN valid_from DROP NOT NULL;
UPDATE tax_rate SET category = CASE WHEN percent > 0 THEN 'S' ELSE 'Z' END;
ALTER TABLE tax_rate ALTER COLUMN category SET NOT NULL, ALTER COLUMN category SET DEFAULT 'S',
    ADD CONSTRAINT tax_rate_is_of_its_organization UNIQUE (id, organization_id),
    ADD CONSTRAINT tax_rate_has_a_known_category
        CHECK (category IN ('S', 'Z', 'E', 'AE', 'K', 'G', 'O') AND (category = 'S') = (percent > 0)),
    ADD CONSTRAINT tax_rate_says_why_nothing_is_due CHECK ((category IN ('S', 'Z')) = (exemption = ''));

CREATE FUNCTION tax_rate_in_force(organization_id bigint, at timestamptz)
RETURNS TABLE (tax_rate_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 BEGIN ATOMIC
    SELECT tax_rate.id FROM tax_rate
     WHERE tax_rate.organization_id = tax_rate_in_force.organization_id
       AND tax_rate.valid_from <= tax_rate_in_force.at
     ORDER BY tax_rate.valid_from DESC LIMIT 1;
END;
"""

TABLES = """
ALTER TABLE charge ADD COLUMN tax_rate_id bigint;
ALTER TABLE invoice_line ADD COLUMN tax_rate_id bigint REFERENCES tax_rate ON DELETE RESTRICT,
    DROP CONSTRAINT invoice_line_is_one_of_its_kind,
    ADD CONSTRAINT invoice_line_is_one_of_its_kind
        UNIQUE NULLS NOT DISTINCT (invoice_id, course_id, pool_id, kind, service_month, unit_price,
                                   tax_rate_id);

CREATE TABLE invoice_tax (
    invoice_id  bigint        NOT NULL REFERENCES invoice  ON DELETE RESTRICT,
    tax_rate_id bigint        REFERENCES tax_rate          ON DELETE RESTRICT,
    subtotal    numeric(16,4) NOT NULL,
    tax         numeric(16,4) NOT NULL,

    CONSTRAINT invoice_is_taxed_once_a_rate UNIQUE NULLS NOT DISTINCT (invoice_id, tax_rate_id)
);

ALTER TABLE invoice_tax ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON invoice_tax TO keypool_web
    USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));
GRANT SELECT, INSERT, UPDATE ON invoice_tax TO keypool_web;

CREATE FUNCTION keep_charged_tax_rates() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pool
                 JOIN charge ON charge.pool_id = pool.id AND charge.occurred_at >= OLD.valid_from
                WHERE pool.organization_id = OLD.organization_id AND charge.tax_rate_id = OLD.id) THEN
        RAISE EXCEPTION 'a tax rate that something was charged at never changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'charged_tax_rate_never_changes';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER charged_tax_rate_never_changes BEFORE UPDATE ON tax_rate
    FOR EACH ROW EXECUTE FUNCTION keep_charged_tax_rates();
"""

# An invoice has the rate that its month had where that is still as it was; else any of the organization
# that is the same; else one that no day has any more. Without a rate there was none.
OLD_INVOICES = """
CREATE TEMP TABLE old ON COMMIT DROP AS
SELECT invoice.id, organization_id, tax_label AS label, tax_percent AS percent, subtotal, tax,
       NULL::bigint AS tax_rate_id
  FROM invoice WHERE status <> 'draft';

INSERT INTO tax_rate (organization_id, label, percent, category, valid_from)
SELECT DISTINCT organization_id, label, percent, CASE WHEN percent > 0 THEN 'S' ELSE 'Z' END, NULL::timestamptz
  FROM old
 WHERE (label, percent) <> ('Tax', 0)
   AND NOT EXISTS (SELECT FROM tax_rate
                    WHERE tax_rate.organization_id = old.organization_id
                      AND (tax_rate.label, tax_rate.percent) = (old.label, old.percent));

UPDATE old SET tax_rate_id = (
    SELECT tax_rate.id
      FROM tax_rate
      JOIN invoice ON invoice.id = old.id
      JOIN organization ON organization.id = old.organization_id
     WHERE tax_rate.organization_id = old.organization_id
       AND (tax_rate.label, tax_rate.percent) = (old.label, old.percent)
     ORDER BY tax_rate.valid_from AT TIME ZONE time_zone < invoice.month + interval '1 month' DESC NULLS LAST,
              tax_rate.valid_from DESC LIMIT 1);

ALTER TABLE invoice_line DISABLE TRIGGER lines_change_in_drafts;
UPDATE invoice_line SET tax_rate_id = old.tax_rate_id FROM old WHERE invoice_line.invoice_id = old.id;
ALTER TABLE invoice_line ENABLE TRIGGER lines_change_in_drafts;

INSERT INTO invoice_tax (invoice_id, tax_rate_id, subtotal, tax)
SELECT id, tax_rate_id, subtotal, tax FROM old;

CREATE TRIGGER taxes_are_added_to_drafts AFTER INSERT ON invoice_tax
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER taxes_change_in_drafts AFTER UPDATE ON invoice_tax
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_final_lines();
CREATE TRIGGER tax_stays_on_its_invoice BEFORE UPDATE OF invoice_id, tax_rate_id OR DELETE ON invoice_tax
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_an_invoice();
"""
