"""Billing one organization: charges are gathered on drafts, added up, numbered. Set-wise, in SQL.

The caller holds a lock on the organization's row, so runs, finalizations and voidings of one
organization run one after another. A month is a calendar month in its time zone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker import days
from worker.billing import parties

# A callback for invoices that became final, in the same transaction: it gets their ids.
Then = Callable[[Session, list[int]], None]

# A month's invoice can have millions of charges: more than the usual statement timeout allows. And
# plans (those of foreign keys and triggers too) are cached across organizations: one made while a
# table was empty would scan it for each charge once it is full.
UNHURRIED = text("""
    SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true),
           set_config('enable_seqscan', 'off', true)
""")

LOCK_BUYER = text("""
    SELECT id, time_zone, clock_now() AS now,
           date_trunc('month', clock_now() AT TIME ZONE time_zone)::date AS running_month
      FROM organization WHERE id = :organization_id FOR NO KEY UPDATE
""")

# Organizations with unbilled charges from before the end of :month (or before the running month), or
# with a draft that could be finalized. Reads the partial indexes charge_unbilled and
# invoice_has_one_draft.
DUE = text("""
    SELECT organization.id
      FROM organization
     CROSS JOIN LATERAL (
           SELECT date_trunc('month', clock_now() AT TIME ZONE time_zone) AS running) AS clock
     WHERE EXISTS (
           SELECT FROM charge
            WHERE unbilled AND charge.organization_id = organization.id
              AND charge.occurred_at < day_start(
                  CAST(coalesce(CAST(:month AS date) + interval '1 month', running) AS date),
                  time_zone))
        OR :finalize AND EXISTS (
           SELECT FROM invoice
            WHERE status = 'draft' AND NOT by_hand AND invoice.organization_id = organization.id
              AND invoice.month < running)
     ORDER BY organization.id
""")

# Put the unbilled charges until an instant on drafts; gives the drafts and how many charges each took.
# A charge goes on its own month's invoice or, if that is finalized, on the next month's that is not
# (B5), with its own service month. Months that begin after :last, and months other than a given
# :month, wait. The statement has one snapshot, so what is settled meanwhile waits for the next run.
GATHER = text("""
    WITH waiting AS (
        SELECT id, learner_organization_id, course_id, pool_id, kind, amount, currency,
               coalesce(tax_rate_id, 0) AS rate,
               date_trunc('month', occurred_at AT TIME ZONE :zone)::date AS service_month
          FROM charge
         WHERE unbilled AND organization_id = :organization_id AND occurred_at < :until),
    billing AS (
        SELECT currency, service_month, open.month
          FROM (SELECT DISTINCT currency, service_month FROM waiting) AS served
         CROSS JOIN LATERAL (
               SELECT first::date AS month
                 FROM generate_series(service_month, CAST(:last AS timestamp), '1 month') AS first
                WHERE NOT EXISTS (
                      SELECT FROM invoice
                       WHERE invoice.organization_id = :organization_id
                         AND invoice.month = first::date AND invoice.currency = served.currency
                         AND status IN ('finalized', 'paid'))
                ORDER BY first LIMIT 1) AS open
         WHERE CAST(:month AS date) IS NULL OR open.month = :month),
    draft AS (
        INSERT INTO invoice (organization_id, month, currency)
        SELECT DISTINCT CAST(:organization_id AS bigint), month, currency FROM billing
         ORDER BY month, currency
        ON CONFLICT (organization_id, month, currency) WHERE status = 'draft'
        DO UPDATE SET by_hand = invoice.by_hand  -- changes nothing, but returns the draft
        RETURNING id, month, currency),
    gathered AS (
        SELECT draft.id AS invoice_id, waiting.id AS charge_id, learner_organization_id, course_id,
               pool_id, kind, service_month, amount AS unit_price, rate
          FROM waiting
          JOIN billing USING (currency, service_month)
          JOIN draft USING (month, currency)),
    shared AS (
        SELECT invoice_id, course_id, pool_id, kind, service_month, unit_price, rate,
               learner_organization_id, count(*) AS charges
          FROM gathered GROUP BY 1, 2, 3, 4, 5, 6, 7, 8),
    line AS (
        INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month, unit_price,
                                  tax_rate_id, quantity, amount)
        SELECT invoice_id, course_id, pool_id, kind, service_month, unit_price, nullif(rate, 0),
               sum(charges), sum(charges) * unit_price
          FROM shared GROUP BY 1, 2, 3, 4, 5, 6, rate
        ON CONFLICT ON CONSTRAINT invoice_line_is_one_of_its_kind
        DO UPDATE SET quantity = invoice_line.quantity + excluded.quantity,
                      amount = invoice_line.amount + excluded.amount
        RETURNING *, coalesce(tax_rate_id, 0) AS rate),
    share AS (
        INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
        SELECT invoice_id, line.id, learner_organization_id, charges
          FROM shared
          JOIN line USING (invoice_id, course_id, pool_id, kind, service_month, unit_price, rate)
        ON CONFLICT (invoice_id, line_id, learner_organization_id)
        DO UPDATE SET quantity = invoice_share.quantity + excluded.quantity),
    carried AS (
        INSERT INTO invoice_charge (invoice_id, charge_id, line_id)
        SELECT invoice_id, charge_id, line.id
          FROM gathered
          JOIN line USING (invoice_id, course_id, pool_id, kind, service_month, unit_price, rate)
        RETURNING invoice_id)
    SELECT invoice_id, count(*) AS charges FROM carried GROUP BY invoice_id ORDER BY invoice_id
""")

# Tax is rounded once per rate, on its subtotal, to the minor unit, half away from zero.
# Multiplied by 0.01, not divided by 100, which would drop digits.
ADD_UP = text("""
    WITH taxed AS (
        INSERT INTO invoice_tax (invoice_id, tax_rate_id, subtotal, tax)
        SELECT draft.id, tax_rate_id, sum(amount),
               round(sum(amount) * coalesce(percent, 0) * 0.01, minor_unit(currency))
          FROM invoice AS draft
          JOIN invoice_line ON invoice_line.invoice_id = draft.id
          LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
         WHERE draft.id = ANY (:invoice_ids) AND draft.status = 'draft'
         GROUP BY draft.id, tax_rate_id, percent
        ON CONFLICT ON CONSTRAINT invoice_is_taxed_once_a_rate
        DO UPDATE SET subtotal = excluded.subtotal, tax = excluded.tax
        RETURNING *)
    UPDATE invoice SET subtotal = sums.subtotal, tax = sums.tax, total = sums.subtotal + sums.tax
      FROM (SELECT invoice_id, sum(subtotal) AS subtotal, sum(tax) AS tax
              FROM taxed GROUP BY invoice_id) AS sums
     WHERE invoice.id = sums.invoice_id
""")

FINALIZABLE = text("""
    SELECT id, month FROM invoice
     WHERE organization_id = :organization_id AND status = 'draft' AND NOT by_hand
       AND month < :running_month AND (CAST(:month AS date) IS NULL OR month = :month)
     ORDER BY month, currency
""")

COPY_TITLES = text("""
    UPDATE invoice_line SET course_title = course.title, pool_name = pool.name
      FROM course, pool
     WHERE invoice_line.invoice_id = ANY (:invoice_ids)
       AND course.id = invoice_line.course_id AND pool.id = invoice_line.pool_id
""")

# The serial's row stays locked until the commit: the next numbering waits, and a transaction
# that dies releases its numbers. The left join makes a missing seller break a constraint.
NUMBER = text(f"""
    WITH due AS (
        SELECT id, row_number() OVER (ORDER BY month, currency) AS place, count(*) OVER () AS taken
          FROM invoice WHERE id = ANY (:invoice_ids) AND status = 'draft'),
    serial AS (
        INSERT INTO invoice_serial (year, last, last_issued_on)
        SELECT extract(year FROM today), count(*), today
          FROM due, (SELECT (clock_now() AT TIME ZONE coalesce(
                         (SELECT time_zone FROM seller), 'UTC'))::date AS today) AS clock
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
""")  # noqa: S608  # both are constants of ours

# An invoice of 0 is paid as it is issued.
PAY_NOTHING = text("""
    UPDATE invoice SET status = 'paid', paid_on = issued_on
     WHERE id = ANY (:invoice_ids) AND status = 'finalized' AND total = 0
""")

RELEASE = text("""
    UPDATE invoice_charge SET released_at = clock_now()
     WHERE invoice_id = :invoice_id AND released_at IS NULL
""")

# Copies the lines, shares and charges of a void invoice to a draft of the same month.
DRAFT_ANEW = text("""
    WITH draft AS (
        INSERT INTO invoice (organization_id, month, currency, by_hand)
        SELECT organization_id, month, currency, true FROM invoice WHERE id = :invoice_id
        ON CONFLICT (organization_id, month, currency) WHERE status = 'draft'
        DO UPDATE SET by_hand = true
        RETURNING id),
    line AS (
        INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month, unit_price,
                                  tax_rate_id, quantity, amount)
        SELECT draft.id, course_id, pool_id, kind, service_month, unit_price, tax_rate_id, quantity, amount
          FROM invoice_line, draft WHERE invoice_id = :invoice_id
        ON CONFLICT ON CONSTRAINT invoice_line_is_one_of_its_kind
        DO UPDATE SET quantity = invoice_line.quantity + excluded.quantity,
                      amount = invoice_line.amount + excluded.amount
        RETURNING *),
    moved AS (
        SELECT gone.id AS from_line, line.invoice_id, line.id
          FROM invoice_line AS gone
          JOIN line USING (course_id, pool_id, kind, service_month, unit_price)
         WHERE gone.tax_rate_id IS NOT DISTINCT FROM line.tax_rate_id AND gone.invoice_id = :invoice_id),
    share AS (
        INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
        SELECT moved.invoice_id, moved.id, learner_organization_id, quantity
          FROM invoice_share JOIN moved ON from_line = line_id
         WHERE invoice_share.invoice_id = :invoice_id
        ON CONFLICT (invoice_id, line_id, learner_organization_id)
        DO UPDATE SET quantity = invoice_share.quantity + excluded.quantity),
    carried AS (
        INSERT INTO invoice_charge (invoice_id, charge_id, line_id)
        SELECT moved.invoice_id, charge_id, moved.id
          FROM invoice_charge JOIN moved ON from_line = line_id
         WHERE invoice_charge.invoice_id = :invoice_id)
    SELECT id FROM draft
""")


@dataclass(frozen=True)
class Buyer:
    """An organization, locked for billing, and its time: `running_month` is the current month."""

    id: int
    time_zone: str
    now: datetime
    running_month: date

    def starts(self, month: date) -> datetime:
        """Give a month's first instant in the organization's time zone."""
        return days.day_start(month, self.time_zone)


def lock(session: Session, organization_id: int) -> Buyer:
    """Lock the organization until the transaction ends, after waiting for others."""
    row = session.execute(LOCK_BUYER, {"organization_id": organization_id}).one()
    return Buyer(row.id, row.time_zone, row.now, row.running_month)


def unhurry(session: Session) -> None:
    """Lift this transaction's timeouts, and have its statements use indexes."""
    session.execute(UNHURRIED)


def due(session: Session, *, month: date | None, finalize: bool) -> list[int]:
    """Give the organizations that a run must bill."""
    return list(session.scalars(DUE, {"month": month, "finalize": finalize}))


def gather(session: Session, buyer: Buyer, *, month: date | None = None) -> dict[int, int]:
    """Put the unbilled charges of every closed month, or of one, on drafts, and add them up.

    Gives how many charges each draft that changed took.
    """
    last = month or before(buyer.running_month)
    gathered = session.execute(
        GATHER,
        {
            "organization_id": buyer.id,
            "zone": buyer.time_zone,
            "until": buyer.starts(following(last)),
            "last": last,
            "month": month,
        },
    )
    charges = {row.invoice_id: row.charges for row in gathered}
    add_up(session, list(charges))
    return charges


def add_up(session: Session, invoice_ids: list[int]) -> None:
    """Compute drafts' subtotal, tax and total from their lines, a tax per rate."""
    if invoice_ids:
        session.execute(ADD_UP, {"invoice_ids": invoice_ids})


def finalizable(
    session: Session, buyer: Buyer, *, month: date | None, grace: timedelta
) -> list[int]:
    """Give the drafts of closed months whose grace period is over, except those that a person finalizes."""
    rows = session.execute(
        FINALIZABLE,
        {"organization_id": buyer.id, "running_month": buyer.running_month, "month": month},
    )
    return [row.id for row in rows if buyer.starts(following(row.month)) + grace <= buyer.now]


def number(session: Session, invoice_ids: list[int]) -> list[int]:
    """Finalize drafts: add them up again, copy what they print, number them by month and currency."""
    if not invoice_ids:
        return []
    add_up(session, invoice_ids)
    session.execute(COPY_TITLES, {"invoice_ids": invoice_ids})
    final = sorted(session.scalars(NUMBER, {"invoice_ids": invoice_ids}))
    session.execute(PAY_NOTHING, {"invoice_ids": final})
    return final


def draft_anew(session: Session, invoice_id: int) -> int:
    """Move a void invoice's charges to a draft of the same month; only a person finalizes it."""
    session.execute(RELEASE, {"invoice_id": invoice_id})
    draft: int = session.execute(DRAFT_ANEW, {"invoice_id": invoice_id}).scalar_one()
    add_up(session, [draft])
    return draft


def nothing(session: Session, invoice_ids: list[int]) -> None:
    """Do nothing; the default callback for finalized invoices."""


def in_words(month: date) -> str:
    """Format a month: `2026-05`."""
    return f"{month:%Y-%m}"


def following(month: date) -> date:
    """Give the month after a month, both as their first day."""
    return (month + timedelta(days=31)).replace(day=1)


def before(month: date) -> date:
    """Give the month before a month, both as their first day."""
    return (month - timedelta(days=1)).replace(day=1)
