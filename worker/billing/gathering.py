"""Billing one organization: charges are gathered on drafts, added up, numbered. Set-wise, in SQL.

The caller holds a lock on the organization's row, so runs, finalizations and voidings of one
organization run one after another. A month is a calendar month in its time zone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Result, text
from sqlalchemy.orm import Session

from worker import days
from worker.billing import numbering
from worker.tables.labels import InvoiceKind

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

# What is unbilled until an instant. A credit waits until the invoice with its charge is finalized.
CHARGES = """
    SELECT id, learner_organization_id, course_id, pool_id, kind, amount AS unit_price, currency,
           coalesce(tax_rate_id, 0) AS rate,
           date_trunc('month', occurred_at AT TIME ZONE :zone)::date AS service_month
      FROM charge
     WHERE unbilled AND organization_id = :organization_id AND occurred_at < :until
       AND kind <> 'credit'"""
CREDITS = """
    SELECT charge.id, learner_organization_id, course_id, pool_id, charge.kind, amount AS unit_price,
           charge.currency, coalesce(tax_rate_id, 0) AS rate,
           date_trunc('month', occurred_at AT TIME ZONE :zone)::date AS service_month,
           credited.line_id AS credits_line_id, md5(reason)::uuid AS reason_key
      FROM charge
      JOIN invoice_charge AS credited ON credited.charge_id = charge.credits_id AND released_at IS NULL
      JOIN invoice ON invoice.id = credited.invoice_id AND invoice.status IN ('finalized', 'paid')
     WHERE unbilled AND charge.organization_id = :organization_id AND credits_id IS NOT NULL
       AND {which}"""

# Where it goes: on its own month's document or, if that is finalized, on the next month's that is not
# (B5), with its own service month. Months that begin after :last, and months other than a given
# :month, wait. Documents that were made by hand gather nothing.
DRAFTED = """
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
                         AND invoice.kind = '{kind}' AND (invoice.kind = 'invoice' OR NOT by_hand)
                         AND status IN ('finalized', 'paid'))
                ORDER BY first LIMIT 1) AS open
         WHERE CAST(:month AS date) IS NULL OR open.month = :month),
    draft AS (
        INSERT INTO invoice (organization_id, month, currency, kind)
        SELECT DISTINCT CAST(:organization_id AS bigint), month, currency, '{kind}'::invoice_kind FROM billing
         ORDER BY month, currency
        ON CONFLICT (organization_id, month, currency, kind) WHERE status = 'draft' AND NOT by_hand
        DO UPDATE SET by_hand = invoice.by_hand  -- changes nothing, but returns the draft
        RETURNING id, month, currency)"""
BY_HAND = """
    draft AS (
        INSERT INTO invoice (organization_id, month, currency, kind, by_hand)
        SELECT DISTINCT CAST(:organization_id AS bigint), CAST(:month AS date), currency,
               'credit_note'::invoice_kind, true FROM waiting
        RETURNING id, month, currency),
    billing AS (SELECT DISTINCT currency, service_month, CAST(:month AS date) AS month FROM waiting)"""

# Put what waits on its drafts; gives the drafts and how many charges each took. The statement has one
# snapshot, so what is settled meanwhile waits for the next run.
GATHER = """
    WITH waiting AS ({waiting}),{placed},
    gathered AS (
        SELECT draft.id AS invoice_id, waiting.id AS charge_id, learner_organization_id, rate, {alike}
          FROM waiting
          JOIN billing USING (currency, service_month)
          JOIN draft USING (month, currency)),
    shared AS (
        SELECT invoice_id, rate, {alike}, learner_organization_id, count(*) AS charges
          FROM gathered GROUP BY invoice_id, rate, {alike}, learner_organization_id),
    line AS (
        INSERT INTO invoice_line (invoice_id, tax_rate_id, {alike}, quantity, amount)
        SELECT invoice_id, nullif(rate, 0), {alike}, sum(charges), sum(charges) * unit_price
          FROM shared GROUP BY invoice_id, rate, {alike}
        ON CONFLICT ON CONSTRAINT invoice_line_is_one_of_its_kind
        DO UPDATE SET quantity = invoice_line.quantity + excluded.quantity,
                      amount = invoice_line.amount + excluded.amount
        RETURNING *, coalesce(tax_rate_id, 0) AS rate),
    share AS (
        INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
        SELECT invoice_id, line.id, learner_organization_id, charges
          FROM shared JOIN line USING (invoice_id, rate, {alike})
        ON CONFLICT (invoice_id, line_id, learner_organization_id)
        DO UPDATE SET quantity = invoice_share.quantity + excluded.quantity),
    carried AS (
        INSERT INTO invoice_charge (invoice_id, charge_id, line_id)
        SELECT invoice_id, charge_id, line.id
          FROM gathered JOIN line USING (invoice_id, rate, {alike})
        RETURNING invoice_id)
    SELECT invoice_id, count(*) AS charges FROM carried GROUP BY invoice_id ORDER BY invoice_id
"""
ALIKE = "course_id, pool_id, kind, service_month, unit_price"
OF_CREDITS = f"{ALIKE}, credits_line_id, reason_key"
GATHER_CHARGES = text(
    GATHER.format(waiting=CHARGES, placed=DRAFTED.format(kind="invoice"), alike=ALIKE)
)
GATHER_CREDITS = text(
    GATHER.format(
        waiting=CREDITS.format(which="occurred_at < :until"),
        placed=DRAFTED.format(kind="credit_note"),
        alike=OF_CREDITS,
    )
)
CREDIT_AT_ONCE = text(
    GATHER.format(
        waiting=CREDITS.format(which="charge.id = ANY (:credit_ids)"),
        placed=BY_HAND,
        alike=OF_CREDITS,
    )
)

# A charge whose credits, all unbilled as it is, come to its amount stands on no document.
CANCEL_OUT = text("""
    INSERT INTO charge_cancelled_out (charge_id)
    SELECT unnest(charge.id || credit.ids)
      FROM (SELECT credits_id, array_agg(id) AS ids, sum(amount) AS amount FROM charge
             WHERE unbilled AND organization_id = :organization_id AND credits_id IS NOT NULL
             GROUP BY credits_id) AS credit
      JOIN charge ON charge.id = credit.credits_id
     WHERE charge.unbilled AND charge.occurred_at < :until AND charge.amount + credit.amount = 0
""")

# If the seller makes no invoices of 0, neither do charges of 0 of a month without others.
SKIP_ZERO = text("""
    INSERT INTO charge_cancelled_out (charge_id)
    SELECT unnest(nothing.ids)
      FROM (SELECT currency, date_trunc('month', occurred_at AT TIME ZONE :zone)::date AS month,
                   array_agg(id) AS ids
              FROM charge
             WHERE (SELECT zero_invoices FROM seller) = 'skip' AND unbilled AND kind <> 'credit'
               AND organization_id = :organization_id AND occurred_at < :until
             GROUP BY 1, 2 HAVING max(amount) = 0) AS nothing
     WHERE NOT EXISTS (
           SELECT FROM invoice
            WHERE organization_id = :organization_id AND status = 'draft' AND NOT by_hand AND kind = 'invoice'
              AND (invoice.month, invoice.currency) = (nothing.month, nothing.currency))
""")

FINALIZABLE = text("""
    SELECT id, month FROM invoice
     WHERE organization_id = :organization_id AND status = 'draft' AND NOT by_hand AND kind = :kind
       AND month < :running_month AND (CAST(:month AS date) IS NULL OR month = :month)
     ORDER BY month, currency
""")

RELEASE = text("""
    UPDATE invoice_charge SET released_at = clock_now()
     WHERE invoice_id = :invoice_id AND released_at IS NULL
""")

# Copies the lines, shares and charges of a void invoice to a draft of the same month. Credits that the first
# release put on it wait for a credit note.
DRAFT_ANEW = text("""
    WITH draft AS (
        INSERT INTO invoice (organization_id, month, currency, by_hand)
        SELECT organization_id, month, currency, true FROM invoice WHERE id = :invoice_id
        RETURNING id),
    line AS (
        INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month, unit_price,
                                  tax_rate_id, quantity, amount)
        SELECT draft.id, course_id, pool_id, kind, service_month, unit_price, tax_rate_id, quantity, amount
          FROM invoice_line, draft WHERE invoice_id = :invoice_id AND kind <> 'credit'
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
         WHERE invoice_share.invoice_id = :invoice_id),
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


def gather(
    session: Session,
    buyer: Buyer,
    *,
    month: date | None = None,
    kind: InvoiceKind = InvoiceKind.INVOICE,
) -> dict[int, int]:
    """Put the unbilled charges of every closed month, or of one, on drafts, and add them up.

    Charges that were credited whole before that cancel out. Credit notes take the credits of charges
    on finalized invoices. Gives how many charges each draft that changed took.
    """
    period = _period(buyer, month)
    if kind is InvoiceKind.CREDIT_NOTE:
        return _added_up(session, session.execute(GATHER_CREDITS, period))
    session.execute(CANCEL_OUT, period)
    session.execute(SKIP_ZERO, period)
    return _added_up(session, session.execute(GATHER_CHARGES, period))


def credit_at_once(session: Session, buyer: Buyer, credit_ids: list[int]) -> list[int]:
    """Put credits on drafts of credit notes of their own, one for each currency."""
    asked = {
        "organization_id": buyer.id,
        "zone": buyer.time_zone,
        "month": buyer.running_month,
        "credit_ids": credit_ids,
    }
    return list(_added_up(session, session.execute(CREDIT_AT_ONCE, asked)))


def _period(buyer: Buyer, month: date | None) -> dict[str, Any]:
    last = month or before(buyer.running_month)
    return {
        "organization_id": buyer.id,
        "zone": buyer.time_zone,
        "until": buyer.starts(following(last)),
        "last": last,
        "month": month,
    }


def _added_up(session: Session, gathered: Result[Any]) -> dict[int, int]:
    charges = {row.invoice_id: row.charges for row in gathered}
    numbering.add_up(session, list(charges))
    return charges


def finalizable(
    session: Session,
    buyer: Buyer,
    *,
    month: date | None,
    grace: timedelta,
    kind: InvoiceKind = InvoiceKind.INVOICE,
) -> list[int]:
    """Give the drafts of closed months whose grace period is over, except those that a person finalizes."""
    rows = session.execute(
        FINALIZABLE,
        {
            "organization_id": buyer.id,
            "running_month": buyer.running_month,
            "month": month,
            "kind": kind,
        },
    )
    return [row.id for row in rows if buyer.starts(following(row.month)) + grace <= buyer.now]


def draft_anew(session: Session, invoice_id: int) -> int:
    """Move a void invoice's charges to a draft of the same month; only a person finalizes it."""
    session.execute(RELEASE, {"invoice_id": invoice_id})
    draft: int = session.execute(DRAFT_ANEW, {"invoice_id": invoice_id}).scalar_one()
    numbering.add_up(session, [draft])
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
