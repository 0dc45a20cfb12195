"""Numbering: drafts are added up, and get their numbers for good. Set-wise, in SQL.

The caller holds the lock on the organization's row.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.billing import parties
from worker.database import locks

# Tax is rounded once per rate, on its subtotal, to the minor unit, half away from zero; of a credit note
# once per rate and credited invoice. `rest` is what the finalized credit notes leave of an invoice's rate:
# the credit that makes it whole takes the rest of its tax, and those before it take no more than that.
# Where less is left than is credited, credits stood on the invoice itself, as in the first release.
# Multiplied by 0.01, not divided by 100, which would drop digits.
ADD_UP = text("""
    WITH summed AS (
        SELECT draft.id AS invoice_id, draft.currency, line.tax_rate_id,
               credited.invoice_id AS credits_invoice_id, sum(line.amount) AS subtotal
          FROM invoice AS draft
          JOIN invoice_line AS line ON line.invoice_id = draft.id
          LEFT JOIN invoice_line AS credited ON credited.id = line.credits_line_id
         WHERE draft.id = ANY (:invoice_ids) AND draft.status = 'draft'
         GROUP BY draft.id, line.tax_rate_id, credited.invoice_id),
    taxed AS (
        INSERT INTO invoice_tax (invoice_id, tax_rate_id, credits_invoice_id, subtotal, tax)
        SELECT invoice_id, tax_rate_id, credits_invoice_id, summed.subtotal,
               CASE WHEN summed.subtotal + rest.subtotal = 0 THEN -rest.tax
                    WHEN summed.subtotal + rest.subtotal > 0 THEN greatest(rounded.tax, -rest.tax)
                    ELSE rounded.tax END
          FROM summed
          LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
         CROSS JOIN LATERAL (
               SELECT round(summed.subtotal * coalesce(percent, 0) * 0.01, minor_unit(currency)) AS tax)
               AS rounded
          LEFT JOIN LATERAL (
               SELECT sum(part.subtotal) AS subtotal, sum(part.tax) AS tax
                 FROM invoice_tax AS part JOIN invoice ON invoice.id = part.invoice_id
                WHERE (part.invoice_id = summed.credits_invoice_id AND part.credits_invoice_id IS NULL
                       OR part.credits_invoice_id = summed.credits_invoice_id)
                  AND invoice.status <> 'draft'
                  AND part.tax_rate_id IS NOT DISTINCT FROM summed.tax_rate_id) AS rest
               ON summed.credits_invoice_id IS NOT NULL
        ON CONFLICT ON CONSTRAINT invoice_is_taxed_once_a_rate
        DO UPDATE SET subtotal = excluded.subtotal, tax = excluded.tax
        RETURNING *)
    UPDATE invoice SET subtotal = sums.subtotal, tax = sums.tax, total = sums.subtotal + sums.tax
      FROM (SELECT invoice_id, sum(subtotal) AS subtotal, sum(tax) AS tax
              FROM taxed GROUP BY invoice_id) AS sums
     WHERE invoice.id = sums.invoice_id
""")

COPY_TITLES = text("""
    UPDATE invoice_line SET course_title = course.title, pool_name = pool.name
      FROM course, pool
     WHERE invoice_line.invoice_id = ANY (:invoice_ids)
       AND course.id = invoice_line.course_id AND pool.id = invoice_line.pool_id
""")

# No document is issued, and none voided, on a day whose journal was exported, even in a transaction that began
# before midnight. Whoever dates one holds this lock until the commit, so that an export sees it.
JOURNALS = "journals"
FIRST_OPEN_DAY = "(SELECT max(last_day) + 1 FROM journal_export)"

# The serial's row stays locked until the commit: the next numbering waits, and a transaction
# that dies releases its numbers. The left join makes a missing seller break a constraint.
NUMBER = text(f"""
    WITH due AS (
        SELECT id, row_number() OVER (ORDER BY month, currency) AS place, count(*) OVER () AS taken
          FROM invoice WHERE id = ANY (:invoice_ids) AND status = 'draft'),
    serial AS (
        INSERT INTO invoice_serial (year, last, last_issued_on)
        SELECT extract(year FROM today), count(*), today
          FROM due, (SELECT greatest((clock_now() AT TIME ZONE coalesce(
                         (SELECT time_zone FROM seller), 'UTC'))::date, {FIRST_OPEN_DAY}) AS today) AS clock
         GROUP BY today
        ON CONFLICT (year) DO UPDATE
           SET last = invoice_serial.last + excluded.last,
               last_issued_on = greatest(invoice_serial.last_issued_on, excluded.last_issued_on)
        RETURNING year, last, last_issued_on AS issued_on)
    UPDATE invoice
       SET status = 'finalized', finalized_at = clock_now(), year = serial.year,
           serial = serial.last - due.taken + due.place, issued_on = serial.issued_on,
           due_on = serial.issued_on + buyer.payment_terms_days,
           seller = {parties.SELLER}, buyer = {parties.BUYER}
      FROM due CROSS JOIN serial LEFT JOIN seller ON true, organization AS buyer
     WHERE invoice.id = due.id AND buyer.id = invoice.organization_id
    RETURNING invoice.id
""")  # noqa: S608  # all are constants of ours
VOID = text(f"""
    UPDATE invoice
       SET status = 'void', void_reason = :reason,
           voided_at = greatest(clock_now(), {FIRST_OPEN_DAY}::timestamp AT TIME ZONE 'UTC')
     WHERE id = :invoice_id
""")  # noqa: S608  # as above

# Whether documents, and those that they credit or that credit them, are paid: nothing is open.
SETTLE = text("""
    WITH touched AS (
        SELECT unnest(CAST(:invoice_ids AS bigint[])) AS id
        UNION SELECT credits_invoice_id FROM invoice_tax WHERE invoice_id = ANY (:invoice_ids)
        UNION SELECT invoice_id FROM invoice_tax WHERE credits_invoice_id = ANY (:invoice_ids)),
    standing AS (
        SELECT invoice.id, invoice_open(invoice.id, status, total) = 0 AS paid,
               greatest(issued_on,
                        (SELECT max(paid_on) FROM payment
                          WHERE invoice_id = invoice.id AND taken_back_at IS NULL),
                        (SELECT max(note.issued_on)
                           FROM invoice_tax JOIN invoice AS note ON note.id = invoice_id
                          WHERE credits_invoice_id = invoice.id)) AS paid_on
          FROM invoice JOIN touched USING (id) WHERE status IN ('finalized', 'paid'))
    UPDATE invoice
       SET status = CASE WHEN standing.paid THEN 'paid' ELSE 'finalized' END::invoice_status,
           paid_on = CASE WHEN standing.paid THEN standing.paid_on END
      FROM standing
     WHERE invoice.id = standing.id AND (invoice.status = 'paid') <> standing.paid
""")

CREDIT_NOTES = text("""
    SELECT id FROM invoice
     WHERE id = ANY (:invoice_ids) AND kind = 'credit_note' ORDER BY month, currency, id
""")

# Drafts that credit an invoice which these credit notes credit, too.
BESIDE = text("""
    SELECT DISTINCT other.invoice_id
      FROM invoice_tax AS tax
      JOIN invoice_tax AS other USING (credits_invoice_id)
      JOIN invoice ON invoice.id = other.invoice_id AND status = 'draft'
     WHERE tax.invoice_id = ANY (:invoice_ids)
""")


def add_up(session: Session, invoice_ids: list[int]) -> None:
    """Compute drafts' subtotal, tax and total from their lines, a tax per rate."""
    if invoice_ids:
        session.execute(ADD_UP, {"invoice_ids": invoice_ids})


def void(session: Session, invoice_id: int, *, reason: str) -> None:
    """Make a final invoice void; the caller releases its charges."""
    locks.wait_for(session, JOURNALS, shared=True)
    session.execute(VOID, {"invoice_id": invoice_id, "reason": reason})


def settle(session: Session, invoice_ids: list[int]) -> None:
    """Set whether documents are paid, after what is open of them changed."""
    session.execute(SETTLE, {"invoice_ids": invoice_ids})


def number(session: Session, invoice_ids: list[int]) -> list[int]:
    """Finalize drafts: add them up again, copy what they print, number them by month and currency.

    Credit notes come last and one by one: of two that credit an invoice, the later one takes the rest of its
    tax. Gives the ids of those that became final.
    """
    notes = list(session.scalars(CREDIT_NOTES, {"invoice_ids": invoice_ids}))
    batches = [[each for each in invoice_ids if each not in notes], *([note] for note in notes)]
    final = [each for batch in batches if batch for each in sorted(_number(session, batch))]
    if notes:
        add_up(session, list(session.scalars(BESIDE, {"invoice_ids": notes})))
    return final


def _number(session: Session, invoice_ids: list[int]) -> list[int]:
    add_up(session, invoice_ids)
    session.execute(COPY_TITLES, {"invoice_ids": invoice_ids})
    locks.wait_for(session, JOURNALS, shared=True)
    final = list(session.scalars(NUMBER, {"invoice_ids": invoice_ids}))
    settle(session, final)
    return final
