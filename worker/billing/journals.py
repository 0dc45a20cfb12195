"""Journals: a period's invoices as lines for bookkeeping, each on an account (B7).

An invoice is booked on the day of its issue: what it asks for to receivables, its lines to revenue by
course, its tax by rate. Voiding one books it back, on its day in UTC. Debits equal credits.
"""

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import days, errors
from worker.billing import numbering
from worker.database import locks
from worker.tables.billing import JournalExport
from worker.tenancy import history
from worker.tenancy.actors import Actor

LINES_PER_BLOCK = 2_000  # lines that are written as one piece
HEADER = (
    "export,line,day,document,event,organization,account,role,course,tax_percent,tax_category,debit,credit,"
    "currency\n"
)

# A day is over once it is in the seller's time zone and, for voidings, in UTC.
OVER = text("""
    SELECT CAST(:last AS date) < least((clock_now() AT TIME ZONE seller.time_zone)::date,
                                       (clock_now() AT TIME ZONE 'UTC')::date)
      FROM seller
""")
NUMBER = text("""
    INSERT INTO journal_export (number, first_day, last_day, accounts)
    SELECT coalesce(max(number), 0) + 1, :first, :last, (SELECT accounts FROM seller)
      FROM journal_export
    ON CONFLICT ON CONSTRAINT journal_is_numbered_once_a_period DO NOTHING
    RETURNING number
""")
FIND = text("SELECT number FROM journal_export WHERE first_day = :first AND last_day = :last")

LINES = text("""
    WITH period AS (SELECT * FROM journal_export WHERE number = :number),
    booked AS (
        SELECT invoice.id, issued_on AS day, 'issued' AS event, 1 AS sign
          FROM invoice, period
         WHERE status <> 'draft' AND issued_on BETWEEN first_day AND last_day
        UNION ALL
        SELECT invoice.id, (voided_at AT TIME ZONE 'UTC')::date, 'voided', -1
          FROM invoice, period
         WHERE status = 'void' AND (voided_at AT TIME ZONE 'UTC')::date BETWEEN first_day AND last_day),
    posting AS (
        SELECT booked.*, 1 AS place, 'receivables' AS role, NULL AS course, NULL::numeric AS percent,
               NULL AS category, sign * invoice.total AS debit
          FROM booked JOIN invoice USING (id)
        UNION ALL
        SELECT booked.*, 2, 'revenue', course.code, NULL, NULL, -sign * sum(line.amount)
          FROM booked JOIN invoice_line AS line ON line.invoice_id = booked.id
          JOIN course ON course.id = line.course_id
         GROUP BY booked.id, day, event, sign, course.code
        UNION ALL
        SELECT booked.*, 3, 'tax', NULL, trim_scale(coalesce(percent, 0)), coalesce(category, 'Z'),
               -sign * sum(invoice_tax.tax)
          FROM booked JOIN invoice_tax ON invoice_tax.invoice_id = booked.id
          LEFT JOIN tax_rate ON tax_rate.id = invoice_tax.tax_rate_id
         GROUP BY booked.id, day, event, sign, coalesce(percent, 0), coalesce(category, 'Z'))
    SELECT concat(
        period.number, ',',
        row_number() OVER (ORDER BY day, year, serial, event, place, course, percent, category), ',', day, ',',
        invoice.number, ',', event, ',', csv_cell(organization.name), ',',
        csv_cell(coalesce(accounts ->> concat_ws(':', role, coalesce(course, percent::text)),
                          accounts ->> role, role)), ',',
        role, ',', csv_cell(course), ',', percent, ',', category, ',',
        round(greatest(debit, 0), minor_unit(invoice.currency)), ',',
        round(greatest(-debit, 0), minor_unit(invoice.currency)), ',', invoice.currency, chr(10))
      FROM posting JOIN invoice USING (id) JOIN organization ON organization.id = organization_id
     CROSS JOIN period
     WHERE debit <> 0
     ORDER BY day, year, serial, event, place, course, percent, category
""")


def number(session: Session, *, actor: Actor, from_: str, to: str) -> int:
    """Number the export of a period's journal; the operator alone may. The same days again are the same.

    Raises:
        InvalidInputError: a day is none, or the period is not over yet.
    """
    actor.require()
    first, last = days.span(from_, to)
    period = {"first": first, "last": last}
    locks.wait_for(session, numbering.JOURNALS)
    if not session.execute(OVER, period).scalar_one():
        raise errors.InvalidInputError(
            f"{last} is not over yet; a journal is of days that are.", field="to"
        )
    made: int | None = session.scalar(NUMBER, period)
    if made is None:
        return int(session.execute(FIND, period).scalar_one())
    history.record(
        session, actor=actor, action="journal exported", thing="journal", thing_ids=made,
        first_day=first.isoformat(), last_day=last.isoformat(),
    )  # fmt: skip
    return made


def lines(session: Session, *, actor: Actor, number: int) -> Iterator[bytes]:
    """Give the lines of a numbered export as CSV, in blocks; always the same.

    Raises:
        NotFoundError: there is no such export.
    """
    actor.require()
    if session.get(JournalExport, number) is None:
        raise errors.NotFoundError(f"There is no journal {number}.", thing="journal")
    return _blocks(session, number)


def _blocks(session: Session, number: int) -> Iterator[bytes]:
    yield HEADER.encode()
    rows = session.execute(
        LINES, {"number": number}, execution_options={"yield_per": LINES_PER_BLOCK}
    )
    for block in rows.scalars().partitions(LINES_PER_BLOCK):
        yield "".join(block).encode()
