-- What of a charge is earned by the end of a day: in equal parts over its days of access, in the minor unit,
-- so that the last day takes the rest. Nothing before the day on which it is booked; all once it is over.
CREATE FUNCTION report.earned(
    amount numeric, decimals int, day date, first_day date, days int, earned_by date, until date) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN until < day THEN 0
            WHEN until >= earned_by THEN amount
            WHEN until < first_day THEN 0
            ELSE round(amount * (until - first_day + 1) / days, decimals) END;

-- The days are the owner's. A redemption is earned from its day over the access that it gave, an extension over
-- what it added; what a later extension or edit of the pool changed is left out (the history knows), so that a
-- day's part stays what it was. A credit is earned as its charge is, what is past at once.
CREATE VIEW report.deferral WITH (security_barrier) AS
SELECT charge.id AS charge_id, charge.credits_id AS credits_charge_id, charge.kind::text AS kind,
       organization.name AS organization, course.code AS course, charge.amount, charge.currency,
       minor_unit(charge.currency) AS decimals,
       (charge.occurred_at AT TIME ZONE zone)::date AS day, began.first_day, spell.days,
       greatest((charge.occurred_at AT TIME ZONE zone)::date,
                least(began.first_day + spell.days - 1, (assignment.cancelled_at AT TIME ZONE zone)::date))
           AS earned_by,
       charge.organization_id, charge.course_id, charge.assignment_id, charge.occurred_at
  FROM charge
  JOIN charge AS owed ON owed.id = coalesce(charge.credits_id, charge.id)
  JOIN organization ON organization.id = charge.organization_id
  JOIN course ON course.id = charge.course_id
  JOIN pool ON pool.id = charge.pool_id
  JOIN assignment ON assignment.id = charge.assignment_id
 CROSS JOIN LATERAL (SELECT organization.time_zone AS zone) AS there
  LEFT JOIN LATERAL (
       SELECT (history.detail ->> 'from')::timestamptz AS was, (history.detail ->> 'to')::timestamptz AS became
         FROM history
        WHERE history.thing = 'assignment' AND history.thing_id = assignment.id
          AND history.action = 'assignment extended'
          AND CASE WHEN owed.kind = 'extension' THEN history.at = owed.occurred_at
                   ELSE assignment.expires_at
                        <> assignment.redeemed_at + pool.content_availability_days * interval '24 hours' END
        ORDER BY history.id LIMIT 1) AS extended ON true
 CROSS JOIN LATERAL (
       SELECT greatest(owed.occurred_at, CASE WHEN owed.kind = 'extension' THEN extended.was END) AS begins,
              coalesce(CASE WHEN owed.kind = 'extension' THEN extended.became ELSE extended.was END,
                       assignment.expires_at) AS ends) AS lasting
 CROSS JOIN LATERAL (SELECT (begins AT TIME ZONE zone)::date AS first_day) AS began
 CROSS JOIN LATERAL (
       SELECT greatest(1, ceil(extract(epoch FROM ends - begins) / 86400))::int AS days) AS spell
 WHERE charge.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.deferral IS
    'One row a charge or credit, with the days of access over which it is earned, in the owner''s time zone. '
    'report.earned(amount, decimals, day, first_day, days, earned_by, until) is what is earned by the end of a day.';
COMMENT ON COLUMN report.deferral.charge_id IS 'The charge''s id, as in report.charge.';
COMMENT ON COLUMN report.deferral.credits_charge_id IS 'The charge that it credits, if it is a credit.';
COMMENT ON COLUMN report.deferral.kind IS 'redemption, extension or credit.';
COMMENT ON COLUMN report.deferral.organization IS 'Who owes it: the pool''s owner.';
COMMENT ON COLUMN report.deferral.course IS 'The course''s code.';
COMMENT ON COLUMN report.deferral.amount IS 'The amount without tax; 0 or negative for a credit.';
COMMENT ON COLUMN report.deferral.currency IS 'The amount''s currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.deferral.decimals IS 'How many decimals the currency has.';
COMMENT ON COLUMN report.deferral.day IS 'The day on which it occurred: it is deferred from then on.';
COMMENT ON COLUMN report.deferral.first_day IS 'The first day of the access, of a credit that of its charge.';
COMMENT ON COLUMN report.deferral.days IS
    'How many days of access it paid for; a day takes an equal part in the minor unit, the last one the rest.';
COMMENT ON COLUMN report.deferral.earned_by IS
    'The day by which it is wholly earned: the last of the access, or when that was cancelled or this credited later.';
COMMENT ON COLUMN report.deferral.organization_id IS 'The owner''s organization_id.';
COMMENT ON COLUMN report.deferral.course_id IS 'The course''s id, as in report.course.';
COMMENT ON COLUMN report.deferral.assignment_id IS 'The assignment''s id, as in report.assignment.';
COMMENT ON COLUMN report.deferral.occurred_at IS 'When it occurred.';

-- The sum of an invoice's rows up to a day is what was open of it then; below zero, it stands to the buyer's credit.
CREATE VIEW report.receivable WITH (security_barrier) AS
SELECT change.event, change.day, organization.name AS organization, invoice.number, invoice.kind::text AS kind,
       change.amount, invoice.currency, invoice.due_on, invoice.id AS invoice_id, invoice.organization_id
  FROM invoice JOIN organization ON organization.id = invoice.organization_id
 CROSS JOIN LATERAL (
       SELECT 'issued' AS event, invoice.issued_on AS day, invoice.total AS amount
       UNION ALL
       SELECT 'voided' AS event, (invoice.voided_at AT TIME ZONE (SELECT time_zone FROM seller))::date AS day,
              -invoice.total AS amount
        WHERE invoice.status = 'void'
       UNION ALL
       SELECT 'paid' AS event, payment.paid_on AS day, -payment.amount AS amount
         FROM payment WHERE payment.invoice_id = invoice.id AND payment.taken_back_at IS NULL
       UNION ALL
       SELECT 'credited' AS event, note.issued_on AS day, tax.subtotal + tax.tax AS amount
         FROM invoice_tax AS tax JOIN invoice AS note ON note.id = tax.invoice_id
        WHERE tax.credits_invoice_id = invoice.id AND note.status IN ('finalized', 'paid')
       UNION ALL
       SELECT 'set_off' AS event, invoice.issued_on AS day, -(tax.subtotal + tax.tax) AS amount
         FROM invoice_tax AS tax
        WHERE tax.invoice_id = invoice.id AND tax.credits_invoice_id IS NOT NULL AND invoice.status <> 'void')
       AS change
 WHERE invoice.status <> 'draft' AND invoice.organization_id IN (SELECT report.visible_organization());
COMMENT ON VIEW report.receivable IS
    'One row a change of what is open of an issued document; its rows up to a day add up to what was open then, '
    'below zero what stands to the buyer''s credit.';
COMMENT ON COLUMN report.receivable.event IS
    'issued, paid, credited (by a credit note), set_off (a credit note against its invoices) or voided.';
COMMENT ON COLUMN report.receivable.day IS 'The day on which it changed.';
COMMENT ON COLUMN report.receivable.organization IS 'Whose document it is: the buyer.';
COMMENT ON COLUMN report.receivable.number IS 'The document''s number.';
COMMENT ON COLUMN report.receivable.kind IS 'invoice or credit_note.';
COMMENT ON COLUMN report.receivable.amount IS 'What was added to the open amount, tax included; negative for a payment.';
COMMENT ON COLUMN report.receivable.currency IS 'The amount''s currency, by its ISO 4217 code.';
COMMENT ON COLUMN report.receivable.due_on IS 'The last day to pay the document.';
COMMENT ON COLUMN report.receivable.invoice_id IS 'The document''s id, as in report.invoice.';
COMMENT ON COLUMN report.receivable.organization_id IS 'The buyer''s organization_id.';

GRANT SELECT ON report.deferral, report.receivable TO keypool_analyst, keypool_web;
REVOKE ALL ON FUNCTION report.earned(numeric, int, date, date, int, date, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION report.earned(numeric, int, date, date, int, date, date) TO keypool_analyst, keypool_web;
