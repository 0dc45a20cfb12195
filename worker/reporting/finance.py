"""Queries of the billing notebook on receivables, days to pay, breakage and deferred revenue.

Amounts of different currencies are never added up. What is open and deferred is that of the end of the
period's last day, whatever was paid, credited or voided later.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from psycopg import sql

from worker.reporting import deferring, reading
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd

TOP = 25
SHOWN = 12  # postings on the page; the CSV has all

# Each document with something open at the end of the last day, and how many days ago it was due.
OPEN = """
    WITH standing AS (
        SELECT organization, currency, kind, due_on, sum(amount) AS open, {last} - due_on AS late
          FROM report.receivable WHERE day <= {last} {family}
         GROUP BY invoice_id, organization, currency, kind, due_on HAVING sum(amount) <> 0),
    aged AS (
        SELECT *, CASE WHEN open < 0 OR kind = 'credit_note' THEN 'credit' WHEN late <= 0 THEN 'not due'
                       WHEN late <= 30 THEN '30' WHEN late <= 60 THEN '60' WHEN late <= 90 THEN '90'
                       ELSE 'more' END AS age
          FROM standing)"""
AGES = """
    coalesce(sum(open) FILTER (WHERE age = 'not due'), 0) AS not_due,
    coalesce(sum(open) FILTER (WHERE age = '30'), 0) AS "1_to_30_days",
    coalesce(sum(open) FILTER (WHERE age = '60'), 0) AS "31_to_60_days",
    coalesce(sum(open) FILTER (WHERE age = '90'), 0) AS "61_to_90_days",
    coalesce(sum(open) FILTER (WHERE age = 'more'), 0) AS over_90_days,
    coalesce(sum(open) FILTER (WHERE age = 'credit'), 0) AS credit,
    sum(open) AS outstanding"""
OUTSTANDING = f"{OPEN} SELECT currency, {AGES} FROM aged GROUP BY currency ORDER BY currency"  # noqa: S608
DEBTORS = f"""
    {OPEN}
    SELECT organization, currency, {AGES} FROM aged
     GROUP BY organization, currency ORDER BY currency, outstanding DESC, organization"""  # noqa: S608  # as above, constants of ours

DAYS_TO_PAY = """
    SELECT currency, count(*) AS invoices, sum(total) AS total,
           round(avg(paid_on - issued_on), 1)::double precision AS mean_days,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY paid_on - issued_on) AS days_for_half,
           max(paid_on - issued_on) AS longest,
           avg(CASE WHEN paid_on > due_on THEN 1 ELSE 0 END)::double precision AS late_share
      FROM report.invoice
     WHERE status = 'paid' AND kind = 'invoice' AND total > 0
       AND paid_on BETWEEN {first} AND {last} {family}
     GROUP BY currency ORDER BY currency"""

# Keys that somebody was given and that no longer can be redeemed, of pools whose last day is in the period.
LOST = """
    WITH lost AS (
        SELECT name AS pool, organization, last_day, distributed AS keys,
               price, currency, distributed * price AS breakage
          FROM report.pool
         WHERE state IN ('expired', 'archived') AND distributed > 0 AND price IS NOT NULL
           AND last_day BETWEEN {first} AND {last} {family})"""
BREAKAGE = f"""
    {LOST}
    SELECT currency, count(*) AS pools, sum(keys)::bigint AS keys, sum(breakage) AS breakage FROM lost
     GROUP BY currency ORDER BY currency"""  # noqa: S608  # as above
BREAKAGE_BY_POOL = f"""
    {LOST}
    SELECT pool, organization, last_day, keys, price, currency, breakage FROM lost
     ORDER BY currency, breakage DESC, pool"""  # noqa: S608  # as above

JOURNAL = f"""
    {deferring.POSTINGS}
    SELECT day, organization, role AS account,
           course,
           greatest(amount, 0) AS to_debit,
           greatest(-amount, 0) AS to_credit,
           currency, decimals
      FROM posting ORDER BY {deferring.ORDER}"""  # noqa: S608  # as above


def outstanding(question: Question) -> "pd.DataFrame":
    """Add up what was open at the end of the last day, by currency and by how long it was overdue."""
    return reading.frame(_about(OUTSTANDING, question))


def outstanding_by_organization(question: Question) -> "pd.DataFrame":
    """Give who owed then, those who owed most first, by currency, with the same ages."""
    frame = reading.frame(_about(DEBTORS, question))
    ages = [name for name in frame if name not in ("organization", "currency")]
    frame.attrs |= {"rows": TOP, "sums": ages}
    return frame


def days_to_pay(question: Question) -> "pd.DataFrame":
    """Say how long after their issue the invoices that were paid in the period took, by currency."""
    return reading.frame(_about(DAYS_TO_PAY, question))


def breakage_value(question: Question) -> "pd.DataFrame":
    """Add up keys that were given to somebody and never redeemed, at the price in force, by currency."""
    return reading.frame(_about(BREAKAGE, question))


def breakage_by_pool(question: Question) -> "pd.DataFrame":
    """Give the pools with such keys whose last day was in the period, those that lost most first."""
    frame = reading.frame(_about(BREAKAGE_BY_POOL, question))
    frame.attrs |= {"rows": TOP, "sums": ["keys", "breakage"]}
    return frame


def deferred_revenue(question: Question) -> "pd.DataFrame":
    """Give what was charged, earned and is left to earn by month and currency, until all is earned.

    It has every charge up to the period's last day. Each month's `deferred` is the one before, plus
    `charged`, less `earned`; the last is 0.
    """
    infinity = sql.SQL("CAST('infinity' AS date)")
    first = question.first.replace(day=1)
    frame = reading.frame(_about(deferring.SCHEDULE, question, first=first, end=infinity))
    frame.attrs["sums"] = ["charged", "earned"]
    return frame


def deferral_journal(question: Question) -> "pd.DataFrame":
    """Give the period's postings of deferred revenue, debit = credit, as a table and as CSV.

    Accounts are named in words; `keypool reports deferred --journal` has the seller's own.
    """
    import pandas as pd

    frame = reading.frame(_about(JOURNAL, question))
    places = frame.pop("decimals").tolist()
    for side in ("to_debit", "to_credit"):
        amounts = zip(frame[side], places, strict=True)
        exact = [amount.quantize(Decimal(1).scaleb(-decimals)) for amount, decimals in amounts]
        frame[side] = pd.Series(exact, dtype=object)
    sums = ["to_debit", "to_credit"]
    frame.attrs |= {"download": "deferred-revenue-journal.csv", "rows": SHOWN, "sums": sums}
    return question.titled(frame)


def _about(
    query: str, question: Question, *, first: object = None, end: sql.Composable | None = None
) -> sql.Composed:
    last = sql.SQL("CAST({} AS date)").format(sql.Literal(question.last))
    return sql.SQL(query).format(
        first=sql.SQL("CAST({} AS date)").format(sql.Literal(first or question.first)),
        last=last,
        end=end or last,
        family=question.family(),
    )
