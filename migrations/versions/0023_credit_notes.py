"""Credit notes are documents of their own; credits no longer stand on invoices (B8)."""

from alembic import op

revision = "0023"
down_revision = "0022"
oldest_code = "0023"  # which puts credits on credit notes
changes = {
    "invoice": "Drafts that had credits alone go.",
    "invoice_line": "Credits leave the drafts of invoices.",
    "invoice_share": "As their lines.",
    "invoice_charge": "As their lines.",
    "invoice_tax": "As their lines.",
    "charge.unbilled": "A credit that left its draft waits for a credit note.",
}


def upgrade() -> None:
    op.execute("ALTER TYPE delivery_type ADD VALUE 'credit_note.finalized'")
    op.execute("ALTER TYPE delivery_type ADD VALUE 'invoice.overdue'")
    op.execute(DRAFTS)
    op.execute(TABLES)
    op.execute(CANCELLED_OUT)
    op.execute(FUNCTIONS)


# A draft's credits wait for a credit note, as new ones do.
DRAFTS = """
ALTER TABLE invoice DISABLE TRIGGER USER;
ALTER TABLE invoice_line DISABLE TRIGGER USER;
ALTER TABLE invoice_share DISABLE TRIGGER USER;
ALTER TABLE invoice_charge DISABLE TRIGGER USER;
ALTER TABLE invoice_tax DISABLE TRIGGER USER;
ALTER TABLE charge DISABLE TRIGGER USER;

CREATE TEMP TABLE given_back ON COMMIT DROP AS
SELECT line.id, line.invoice_id
  FROM invoice_line AS line JOIN invoice ON invoice.id = line.invoice_id
 WHERE status = 'draft' AND line.kind = 'credit';
UPDATE charge SET unbilled = true
  FROM invoice_charge JOIN given_back ON given_back.id = line_id
 WHERE charge.id = charge_id AND released_at IS NULL;
DELETE FROM invoice_charge USING given_back WHERE line_id = given_back.id;
DELETE FROM invoice_share USING given_back WHERE line_id = given_back.id;
DELETE FROM invoice_line USING given_back WHERE invoice_line.id = given_back.id;
DELETE FROM invoice_tax USING given_back WHERE invoice_tax.invoice_id = given_back.invoice_id;

INSERT INTO invoice_tax (invoice_id, tax_rate_id, subtotal, tax)
SELECT draft.id, tax_rate_id, sum(amount),
       round(sum(amount) * coalesce(percent, 0) * 0.01, minor_unit(currency))
  FROM invoice AS draft
  JOIN invoice_line ON invoice_line.invoice_id = draft.id
  LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
 WHERE draft.id IN (SELECT invoice_id FROM given_back)
 GROUP BY draft.id, tax_rate_id, percent;
UPDATE invoice SET subtotal = sums.subtotal, tax = sums.tax, total = sums.subtotal + sums.tax
  FROM (SELECT invoice_id, sum(subtotal) AS subtotal, sum(tax) AS tax
          FROM invoice_tax GROUP BY invoice_id) AS sums
 WHERE invoice.id = sums.invoice_id AND invoice.id IN (SELECT invoice_id FROM given_back);
DELETE FROM invoice
 WHERE id IN (SELECT invoice_id FROM given_back)
   AND NOT EXISTS (SELECT FROM invoice_line WHERE invoice_id = invoice.id)
   AND NOT EXISTS (SELECT FROM report_run WHERE invoice_id = invoice.id);

-- What has nothing open is paid.
UPDATE invoice SET status = 'paid', paid_on = issued_on WHERE status = 'finalized' AND total = 0;

ALTER TABLE invoice ENABLE TRIGGER USER;
ALTER TABLE invoice_line ENABLE TRIGGER USER;
ALTER TABLE invoice_share ENABLE TRIGGER USER;
ALTER TABLE invoice_charge ENABLE TRIGGER USER;
ALTER TABLE invoice_tax ENABLE TRIGGER USER;
ALTER TABLE charge ENABLE TRIGGER USER;
"""

TABLES = """
ALTER TABLE seller ADD COLUMN zero_invoices text NOT NULL DEFAULT 'keep',
    ADD CONSTRAINT seller_keeps_or_skips_zero CHECK (zero_invoices IN ('keep', 'skip'));

CREATE TYPE invoice_kind AS ENUM ('invoice', 'credit_note');
ALTER TABLE invoice ADD COLUMN kind invoice_kind NOT NULL DEFAULT 'invoice',
    ADD COLUMN told_overdue_at timestamptz,
    ADD CONSTRAINT credit_note_is_never_voided CHECK (kind = 'invoice' OR status <> 'void');
DROP INDEX invoice_has_one_draft;
CREATE UNIQUE INDEX invoice_has_one_draft ON invoice (organization_id, month, currency, kind)
    WHERE status = 'draft' AND NOT by_hand;
CREATE INDEX invoice_by_hand ON invoice (id) WHERE status = 'draft' AND by_hand;
CREATE INDEX invoice_to_be_overdue ON invoice (due_on) WHERE status = 'finalized' AND told_overdue_at IS NULL;

ALTER TABLE invoice_line ADD COLUMN credits_line_id bigint REFERENCES invoice_line ON DELETE RESTRICT,
    ADD COLUMN reason_key uuid,
    DROP CONSTRAINT invoice_line_is_one_of_its_kind,
    ADD CONSTRAINT invoice_line_is_one_of_its_kind
        UNIQUE NULLS NOT DISTINCT (invoice_id, course_id, pool_id, kind, service_month, unit_price, tax_rate_id,
                                   credits_line_id, reason_key),
    ADD CONSTRAINT credit_line_names_the_line_it_credits
        CHECK (kind <> 'credit' OR (credits_line_id IS NULL) = (reason_key IS NULL));

ALTER TABLE invoice_tax ADD COLUMN credits_invoice_id bigint REFERENCES invoice ON DELETE RESTRICT,
    DROP CONSTRAINT invoice_is_taxed_once_a_rate,
    ADD CONSTRAINT invoice_is_taxed_once_a_rate
        UNIQUE NULLS NOT DISTINCT (invoice_id, tax_rate_id, credits_invoice_id);
CREATE INDEX invoice_tax_credits ON invoice_tax (credits_invoice_id) WHERE credits_invoice_id IS NOT NULL;
CREATE OR REPLACE TRIGGER tax_stays_on_its_invoice
    BEFORE UPDATE OF invoice_id, tax_rate_id, credits_invoice_id OR DELETE ON invoice_tax
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_changing_an_invoice();

CREATE INDEX charge_unbilled_credit ON charge (organization_id, credits_id)
    WHERE unbilled AND credits_id IS NOT NULL;
"""

CANCELLED_OUT = """
CREATE TABLE charge_cancelled_out (
    charge_id    bigint      PRIMARY KEY REFERENCES charge ON DELETE RESTRICT,
    cancelled_at timestamptz NOT NULL DEFAULT clock_now()
);

CREATE FUNCTION bill_nothing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    settled bigint;
BEGIN
    UPDATE charge SET unbilled = false FROM added WHERE charge.id = added.charge_id AND charge.unbilled;
    GET DIAGNOSTICS settled = ROW_COUNT;
    IF settled <> (SELECT count(*) FROM added)
       OR EXISTS (SELECT FROM added JOIN charge ON charge.id IN (
                         SELECT coalesce(credits_id, id) FROM charge WHERE charge.id = added.charge_id)
                   WHERE charge.amount + coalesce((
                         SELECT sum(credit.amount) FROM charge AS credit
                           JOIN charge_cancelled_out ON charge_cancelled_out.charge_id = credit.id
                          WHERE credit.credits_id = charge.id), 0) <> 0) THEN
        RAISE EXCEPTION 'only unbilled charges and credits that come to nothing cancel out'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'cancelled_out_comes_to_nothing';
    END IF;
    PERFORM tally_unbilled(ARRAY(SELECT charge_id FROM added JOIN charge ON charge.id = charge_id
                                  WHERE occurred_at > clock_now() - interval '32 days'), -1);
    RETURN NULL;
END
$$;

CREATE TRIGGER cancelled_out_comes_to_nothing AFTER INSERT ON charge_cancelled_out
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION bill_nothing();
CREATE TRIGGER cancelled_out_stays_so BEFORE UPDATE OR DELETE ON charge_cancelled_out
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_a_charge();

ALTER TABLE charge_cancelled_out ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON charge_cancelled_out TO keypool_web
    USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM charge WHERE charge.id = charge_id));
GRANT SELECT, INSERT, UPDATE ON charge_cancelled_out TO keypool_web;
"""

FUNCTIONS = """
CREATE OR REPLACE FUNCTION keep_final_invoices() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    outcome CONSTANT text[] := '{status,paid_on,voided_at,void_reason,told_overdue_at,number}';
BEGIN
    IF OLD.status = 'draft' AND NEW.status IN ('draft', 'finalized')
       AND (NEW.id, NEW.organization_id, NEW.month, NEW.currency, NEW.kind)
         = (OLD.id, OLD.organization_id, OLD.month, OLD.currency, OLD.kind)
    OR (OLD.status, NEW.status) IN (('finalized', 'paid'), ('paid', 'finalized'), ('finalized', 'void'),
                                    ('finalized', 'finalized'))
       AND to_jsonb(NEW) - outcome = to_jsonb(OLD) - outcome THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a finalized invoice can only be paid or voided'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'finalized_invoice_never_changes';
END
$$;

CREATE OR REPLACE FUNCTION bill_added_charges() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    billed bigint;
BEGIN
    PERFORM FROM invoice WHERE id IN (SELECT invoice_id FROM added) ORDER BY id FOR NO KEY UPDATE;
    -- The invoice is looked up row by row: as a join it would be planned for a handful of rows.
    UPDATE charge SET unbilled = false
      FROM added
     WHERE charge.id = added.charge_id AND charge.unbilled AND added.released_at IS NULL
       AND (charge.organization_id, charge.currency, charge.kind = 'credit') = (
           SELECT organization_id, currency, kind = 'credit_note' FROM invoice
            WHERE id = added.invoice_id AND status = 'draft');
    GET DIAGNOSTICS billed = ROW_COUNT;
    IF billed <> (SELECT count(*) FROM added) THEN
        RAISE EXCEPTION 'a draft gathers unbilled charges of its organization and currency'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'draft_gathers_its_own_unbilled_charges';
    END IF;
    IF EXISTS (SELECT FROM invoice WHERE id IN (SELECT invoice_id FROM added) AND month_may_run(month)) THEN
        PERFORM tally_unbilled(ARRAY(SELECT charge_id FROM added), -1);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION credit_set_against_invoices(credit_note_id bigint) RETURNS numeric
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT coalesce(sum(greatest(least(given.amount, invoice.total - before.amount), 0)), 0)
      FROM (SELECT credits_invoice_id, -sum(subtotal + tax) AS amount
              FROM invoice_tax
             WHERE invoice_tax.invoice_id = credit_note_id AND credits_invoice_id IS NOT NULL
             GROUP BY credits_invoice_id) AS given
      JOIN invoice AS note ON note.id = credit_note_id
      JOIN invoice ON invoice.id = given.credits_invoice_id
     CROSS JOIN LATERAL (
           SELECT coalesce((SELECT sum(amount) FROM payment
                             WHERE payment.invoice_id = invoice.id AND taken_back_at IS NULL), 0)
                - coalesce((SELECT sum(earlier.subtotal + earlier.tax)
                              FROM invoice_tax AS earlier JOIN invoice AS other ON other.id = earlier.invoice_id
                             WHERE earlier.credits_invoice_id = invoice.id AND other.status <> 'draft'
                               AND (other.year, other.serial) < (note.year, note.serial)), 0)
                AS amount) AS before;
END;

CREATE OR REPLACE FUNCTION invoice_open(invoice_id bigint, status invoice_status, total numeric) RETURNS numeric
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT CASE WHEN status NOT IN ('finalized', 'paid') THEN 0
                WHEN unpaid.amount <= 0 THEN unpaid.amount
                ELSE greatest(unpaid.amount + credited.amount, 0) END
      FROM (SELECT total + credit_set_against_invoices(invoice_open.invoice_id)
                   - coalesce(sum(payment.amount), 0) AS amount
              FROM payment
             WHERE payment.invoice_id = invoice_open.invoice_id AND taken_back_at IS NULL) AS unpaid,
           (SELECT coalesce(sum(given.subtotal + given.tax), 0) AS amount
              FROM invoice_tax AS given JOIN invoice AS note ON note.id = given.invoice_id
             WHERE given.credits_invoice_id = invoice_open.invoice_id AND note.status <> 'draft') AS credited;
END;

DROP TRIGGER payments_stay_within_their_invoice ON payment;
CREATE OR REPLACE FUNCTION keep_payments_within_their_invoice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    paid  invoice;
    still numeric;
BEGIN
    SELECT * INTO paid FROM invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
    still := invoice_open(paid.id, paid.status, paid.total);
    IF NEW.amount <> 0 AND (sign(NEW.amount) <> sign(still) OR abs(NEW.amount) > abs(still)) THEN
        RAISE EXCEPTION 'payments cannot exceed their invoice'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stay_within_their_invoice';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER payments_stay_within_their_invoice BEFORE INSERT ON payment
    FOR EACH ROW EXECUTE FUNCTION keep_payments_within_their_invoice();

CREATE OR REPLACE FUNCTION tell_invoice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    told CONSTANT delivery_type := CASE
        WHEN NEW.kind = 'credit_note' THEN CASE WHEN OLD.status = 'draft' THEN 'credit_note.finalized' END
        WHEN NEW.status = OLD.status  THEN 'invoice.overdue'
        WHEN NEW.status = 'paid'      THEN 'invoice.paid'
        WHEN NEW.status = 'void'      THEN 'invoice.voided'
        WHEN OLD.status = 'draft'     THEN 'invoice.finalized'
        ELSE                               'invoice.payment_taken_back' END;
BEGIN
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint.id, told, jsonb_build_object(
               'id', NEW.id::text, 'number', NEW.number, 'kind', NEW.kind, 'organization', organization.name,
               'month', to_char(NEW.month, 'YYYY-MM'), 'currency', NEW.currency, 'status', NEW.status,
               'subtotal', round(NEW.subtotal, minor_unit(NEW.currency))::text,
               'tax', round(NEW.tax, minor_unit(NEW.currency))::text,
               'total', round(NEW.total, minor_unit(NEW.currency))::text,
               'issued_on', NEW.issued_on, 'due_on', NEW.due_on, 'paid_on', NEW.paid_on,
               'open', round(invoice_open(NEW.id, NEW.status, NEW.total), minor_unit(NEW.currency))::text)
      FROM organization_ancestry AS above
      JOIN endpoint ON endpoint.organization_id = above.ancestor_id AND removed_at IS NULL
      JOIN organization ON organization.id = NEW.organization_id
     WHERE above.descendant_id = NEW.organization_id AND told = ANY (endpoint.types)
     ORDER BY endpoint.id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER invoice_is_told AFTER UPDATE OF status, told_overdue_at ON invoice
    FOR EACH ROW WHEN ((OLD.status, OLD.told_overdue_at) IS DISTINCT FROM (NEW.status, NEW.told_overdue_at))
    EXECUTE FUNCTION tell_invoice();

CREATE OR REPLACE VIEW report.invoice WITH (security_barrier) AS
SELECT invoice.id, invoice.number, organization.name AS organization, invoice.month, invoice.currency,
       invoice.status::text AS status, invoice.subtotal, invoice.tax, invoice.total,
       invoice.finalized_at, invoice.due_on, invoice.paid_on,
       invoice.status = 'finalized' AND invoice.total > 0
           AND invoice.due_on < (clock_now() AT TIME ZONE (SELECT time_zone FROM seller))::date AS overdue,
       (SELECT coalesce(sum(invoice_line.amount), 0) FROM invoice_line
         WHERE invoice_line.invoice_id = invoice.id) AS lines,
       (SELECT coalesce(sum(charge.amount), 0) FROM invoice_charge JOIN charge ON charge.id = charge_id
         WHERE invoice_charge.invoice_id = invoice.id) AS charges
  FROM invoice JOIN organization ON organization.id = invoice.organization_id
 WHERE invoice.organization_id IN (SELECT report.visible_organization());
"""
