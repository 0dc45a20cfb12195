"""Queries of the notebooks on pools and on learners at risk, about the present state."""

from typing import TYPE_CHECKING

from psycopg import sql

from worker.reporting import measures, reading
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd

SOON = 30  # days
TOP = 25

TOTALS = """
    SELECT {stock} FROM report.pool WHERE true {family} HAVING count(*) > 0"""

EXPIRING = """
    SELECT name AS pool, organization, course, issued, undistributed,
           last_day,
           floor(extract(epoch FROM expires_at - {now}) / 86400)::int AS days_left
      FROM report.pool
     WHERE state = 'active' AND issued > 0 AND expires_at < {now} + {soon} * interval '1 day' {family}
     ORDER BY expires_at, pool"""

BREAKAGE = """
    SELECT name AS pool, organization, course, state, issued + redeemed + retired AS keys, redeemed,
           breakage, breakage::numeric / nullif(issued + redeemed + retired, 0) AS breakage_share
      FROM report.pool WHERE breakage > 0 {family} ORDER BY breakage DESC, pool"""

LABELS = """
    SELECT label, sum(issued + redeemed + retired)::bigint AS keys, sum(issued)::bigint AS issued,
           sum(distributed)::bigint AS distributed, sum(redeemed)::bigint AS redeemed,
           sum(retired)::bigint AS retired
      FROM report.pool_label WHERE true {family}
     GROUP BY label ORDER BY keys DESC, label"""

AT_RISK = """
    SELECT email, name, organization, course,
           day AS redeemed, last_day AS access_ends,
           floor(extract(epoch FROM expires_at - {now}) / 86400)::int AS days_left
      FROM report.assignment
     WHERE live AND launches = 0
       AND expires_at >= {now} AND expires_at < {now} + {soon} * interval '1 day' {family}
     ORDER BY expires_at, email"""

AT_RISK_TOTALS = """
    SELECT * FROM (
        SELECT count(*) AS live_assignments, count(*) FILTER (WHERE launches = 0) AS not_launched,
               count(*) FILTER (WHERE launches = 0 AND expires_at < {now} + {soon} * interval '1 day')
                   AS at_risk
          FROM report.assignment WHERE live AND expires_at >= {now} {family}) AS counted
     WHERE live_assignments > 0"""


def stock_totals(question: Question) -> "pd.DataFrame":
    """Count the keys of all pools by state: one row."""
    return reading.figures(_about(TOTALS, question))


def expiring_pools(question: Question) -> "pd.DataFrame":
    """Give active pools with issued keys that expire within 30 days."""
    return _cut(question.titled(reading.frame(_about(EXPIRING, question))))


def breakage(question: Question) -> "pd.DataFrame":
    """Give pools with keys that were never redeemed and no longer can be."""
    return _cut(question.titled(reading.frame(_about(BREAKAGE, question))))


def keys_by_label(question: Question) -> "pd.DataFrame":
    """Count the keys that carry each label, the most frequent first; a key counts under each of its own."""
    return _cut(reading.frame(_about(LABELS, question)))


def risk_totals(question: Question) -> "pd.DataFrame":
    """Count live assignments, those never launched, and those of them that end soon: one row."""
    return reading.figures(_about(AT_RISK_TOTALS, question))


def learners_at_risk(question: Question) -> "pd.DataFrame":
    """List live assignments without a launch that end within 30 days, the soonest first."""
    frame = reading.frame(_about(AT_RISK, question))
    question.titled(frame)
    frame.attrs["download"] = "learners-at-risk.csv"
    return frame


def _cut(frame: "pd.DataFrame") -> "pd.DataFrame":
    frame.attrs["rows"] = TOP
    return frame


def _about(query: str, question: Question) -> sql.Composed:
    return sql.SQL(query).format(
        stock=sql.SQL(measures.STOCK),
        family=question.family(),
        soon=sql.Literal(SOON),
        now=sql.Literal(question.asked_at),
    )
