"""Payments in parts, one issue date in the seller's time zone, and what is open (B5, B5a)."""

from alembic import op

revision = "0010"
down_revision = "0009"
oldest_code = "0010"  # which issues on a day, and pays by payments


def upgrade() -> None:
    for told in ("invoice.paid", "invoice.payment_taken_back", "invoice.voided"):
        op.execute(f"ALTER TYPE delivery_type ADD VALUE '{told}'")
    op.execute(SELLER)
    op.execute(ISSUE)
    op.execute(PAYMENT)
    op.execute(CHANGED)


SELLER = """
ALTER TABLE seller ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC',
    ADD CONSTRAINT seller_time_zone_is_known CHECK (is_time_zone(time_zone));
COMMENT ON CONSTRAINT seller_time_zone_is_known ON seller
    IS 'invalid_input(time_zone): The time zone is not known; give an IANA name such as Europe/Berlin.';
"""

# Numbers were given by UTC's year; their day is UTC's, too.
ISSUE = """
ALTER TABLE invoice ADD COLUMN issued_on date;
ALTER TABLE invoice DISABLE TRIGGER finalized_invoice_never_changes;
UPDATE invoice SET issued_on = (finalized_at AT TIME ZONE 'UTC')::date WHERE finalized_at IS NOT NULL;
ALTER TABLE invoice ENABLE TRIGGER finalized_invoice_never_changes;
ALTER TABLE invoice DROP CONSTRAINT invoice_is_numbered_when_final,
    ADD CONSTRAINT invoice_is_numbered_when_final
        CHECK ((status = 'draft') = (serial IS NULL) AND (serial IS NULL) = (year IS NULL)
               AND (serial IS NULL) = (finalized_at IS NULL) AND (serial IS NULL) = (due_on IS NULL)
               AND (serial IS NULL) = (issued_on IS NULL)),
    ADD CONSTRAINT invoice_is_numbered_in_the_year_of_its_issue CHECK (year = extract(year FROM issued_on));

ALTER TABLE invoice_serial ADD COLUMN last_issued_on date;
UPDATE invoice_serial
   SET last_issued_on = coalesce((SELECT max(issued_on) FROM invoice WHERE invoice.year = invoice_serial.year),
                                 make_date(year, 1, 1));
ALTER TABLE invoice_serial ALTER COLUMN last_issued_on SET NOT NULL;
"""

# A paid invoice was paid whole, on one day.
PAYMENT = """
CREATE TABLE payment (
    id                 bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    invoice_id         bigint        NOT NULL REFERENCES invoice ON DELETE RESTRICT,
    paid_on            date          NOT NULL,
    amount             numeric(16,4) NOT NULL,
    reference          text          NOT NULL DEFAULT '',
    recorded_at        timestamptz   NOT NULL DEFAULT clock_now(),
    taken_back_at      timestamptz,
    taken_back_because text,

    CONSTRAINT payment_is_of_money             CHECK (amount <> 0),
    CONSTRAINT payment_reference_is_short
        CHECK (reference = btrim(reference) AND length(reference) <= 200),
    CONSTRAINT payment_is_taken_back_for_a_reason
        CHECK ((taken_back_at IS NULL) = (taken_back_because IS NULL))
);

COMMENT ON CONSTRAINT payment_is_of_money ON payment
    IS 'invalid_input(amount): A payment is more than nothing.';
COMMENT ON CONSTRAINT payment_reference_is_short ON payment
    IS 'invalid_input(reference): A reference has up to 200 characters.';

CREATE INDEX payment_by_invoice ON payment (invoice_id);

CREATE FUNCTION invoice_open(invoice_id bigint, status invoice_status, total numeric) RETURNS numeric
LANGUAGE sql STABLE BEGIN ATOMIC
    SELECT CASE WHEN status NOT IN ('finalized', 'paid') THEN 0
                ELSE total - coalesce(sum(payment.amount), 0) END
      FROM payment WHERE payment.invoice_id = invoice_open.invoice_id AND taken_back_at IS NULL;
END;

CREATE FUNCTION keep_payments_within_their_invoice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    paid invoice;
BEGIN
    SELECT * INTO paid FROM invoice WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
    IF paid.status NOT IN ('finalized', 'paid') OR sign(NEW.amount) <> sign(paid.total)
       OR abs(paid.total) < abs(paid.total - invoice_open(paid.id, paid.status, paid.total)) THEN
        RAISE EXCEPTION 'payments cannot exceed their invoice'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_stay_within_their_invoice';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER payments_stay_within_their_invoice AFTER INSERT ON payment
    FOR EACH ROW EXECUTE FUNCTION keep_payments_within_their_invoice();

CREATE FUNCTION refuse_rewriting_a_payment() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a payment is never rewritten; take it back'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_is_never_rewritten';
END
$$;

CREATE TRIGGER payment_is_never_rewritten
    BEFORE UPDATE OF id, invoice_id, paid_on, amount, recorded_at OR DELETE ON payment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting_a_payment();
CREATE TRIGGER payment_is_taken_back_once BEFORE UPDATE OF taken_back_at ON payment
    FOR EACH ROW WHEN (OLD.taken_back_at IS NOT NULL)
    EXECUTE FUNCTION refuse_rewriting_a_payment();

INSERT INTO payment (invoice_id, paid_on, amount)
SELECT id, paid_on, total FROM invoice WHERE status = 'paid' AND total <> 0;

ALTER TABLE payment ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenancy ON payment TO keypool_web
    USING ((SELECT sees_everything()) OR EXISTS (SELECT FROM invoice WHERE invoice.id = invoice_id));
GRANT SELECT, INSERT, UPDATE ON payment TO keypool_web;
"""

CHANGED = """
CREATE OR REPLACE FUNCTION keep_final_invoices() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    outcome CONSTANT text[] := '{status,paid_on,voided_at,void_reason,number}';
BEGIN
    IF OLD.status = 'draft' AND NEW.status IN ('draft', 'finalized')
       AND (NEW.id, NEW.organization_id, NEW.month, NEW.currency)
         = (OLD.id, OLD.organization_id, OLD.month, OLD.currency)
    OR (OLD.status, NEW.status) IN (('finalized', 'paid'), ('paid', 'finalized'), ('finalized', 'void'))
       AND to_jsonb(NEW) - outcome = to_jsonb(OLD) - outcome THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a finalized invoice can only be paid or voided'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'finalized_invoice_never_changes';
END
$$;

CREATE OR REPLACE FUNCTION tell_invoice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    told CONSTANT delivery_type := CASE
        WHEN NEW.status = 'paid'     THEN 'invoice.paid'
        WHEN NEW.status = 'void'     THEN 'invoice.voided'
        WHEN OLD.status = 'draft'    THEN 'invoice.finalized'
        ELSE                              'invoice.payment_taken_back' END;
BEGIN
    INSERT INTO delivery (endpoint_id, type, data)
    SELECT endpoint.id, told, jsonb_build_object(
               'id', NEW.id::text, 'number', NEW.number, 'organization', organization.name,
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

DROP TRIGGER finalized_invoice_is_told ON invoice;
CREATE TRIGGER invoice_is_told AFTER UPDATE OF status ON invoice
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION tell_invoice();

CREATE OR REPLACE VIEW report.invoice WITH (security_barrier) AS
SELECT invoice.id, invoice.number, organization.name AS organization, invoice.month, invoice.currency,
       invoice.status::text AS status, invoice.subtotal, invoice.tax, invoice.total,
       invoice.finalized_at, invoice.due_on, invoice.paid_on,
       invoice.status = 'finalized'
           AND invoice.due_on < (clock_now() AT TIME ZONE (SELECT time_zone FROM seller))::date AS overdue,
       (SELECT coalesce(sum(invoice_line.amount), 0) FROM invoice_line
         WHERE invoice_line.invoice_id = invoice.id) AS lines,
       (SELECT coalesce(sum(charge.amount), 0) FROM invoice_charge JOIN charge ON charge.id = charge_id
         WHERE invoice_charge.invoice_id = invoice.id) AS charges
  FROM invoice JOIN organization ON organization.id = invoice.organization_id
 WHERE invoice.organization_id IN (SELECT report.visible_organization());
"""
