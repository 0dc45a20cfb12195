"""Queries of the notebook on pools: what moved in the period, and the present state."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from psycopg import sql

from worker.languages import unusual
from worker.reporting import comparing, measures, reading
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd

SOON = 30  # days
TOP = 25

TOTALS = """
    SELECT {stock} FROM report.pool WHERE true {family} HAVING count(*) > 0"""

MOVED = """
    WITH moved AS (
        SELECT (SELECT coalesce(sum(keys), 0)::bigint FROM report.growth WHERE {made}) AS created,
               (SELECT count(*) FROM report.handed_out WHERE {distributed}) AS distributed,
               (SELECT count(*) FROM report.redemption
                 WHERE answer = 'redeemed' AND {redeemed}) AS redeemed)
    SELECT * FROM moved WHERE created + distributed + redeemed > 0"""

# Two pools may have one name: each is told with its owner, unless that is whom the report is about.
REDEEMED = """
    SELECT CASE WHEN organization = {about} THEN pool ELSE pool || ', ' || organization END AS pool,
           count(*) AS redeemed
      FROM report.redemption WHERE answer = 'redeemed' AND {redeemed}
     GROUP BY pool, organization"""

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

UNUSUAL = """
    SELECT pool, organization, day AS began, rule, seen, usual, among, most
      FROM report.pool_unusual
     WHERE {began} ORDER BY began_at DESC, pool, rule"""

LABELS = """
    SELECT label, sum(issued + redeemed + retired)::bigint AS keys, sum(issued)::bigint AS issued,
           sum(distributed)::bigint AS distributed, sum(redeemed)::bigint AS redeemed,
           sum(retired)::bigint AS retired
      FROM report.pool_label WHERE true {family}
     GROUP BY label ORDER BY keys DESC, label"""


def stock_totals(question: Question) -> "pd.DataFrame":
    """Count the keys of all pools by state: one row."""
    return reading.frame(_about(TOTALS, question))


def stock_moved(question: Question) -> "pd.DataFrame":
    """Count the keys created, distributed and redeemed in the period, beside earlier periods: one row."""
    return comparing.beside(question, lambda asked: reading.figures(_about(MOVED, asked)))


def pools_changed(question: Question) -> comparing.Opening:
    """Say how the number of redeemed keys changed, and in which pool most."""
    return comparing.changed(
        question,
        comparing.keys_redeemed,
        lambda asked: reading.frame(_about(REDEEMED, asked)),
        name="pool",
        count="redeemed",
    )


def expiring_pools(question: Question) -> "pd.DataFrame":
    """Give active pools with issued keys that expire within 30 days."""
    return _cut(question.titled(reading.frame(_about(EXPIRING, question))))


def breakage(question: Question) -> "pd.DataFrame":
    """Give pools with keys that were never redeemed and no longer can be."""
    return _cut(question.titled(reading.frame(_about(BREAKAGE, question))))


def unusual_pools(question: Question) -> "pd.DataFrame":
    """List the spells of the period in which a pool was unusual against its own past, the latest first.

    `what` says in a sentence by which rule, what was seen and what is usual.
    """
    frame = reading.frame(_about(UNUSUAL, question))
    frame["what"] = [_unusual(question, row) for row in frame.to_dict("records")]
    return _cut(frame.drop(columns=["rule", "seen", "usual", "among", "most"]))


def _unusual(question: Question, row: dict[Hashable, Any]) -> str:
    among, most = (None if row[name] != row[name] else int(row[name]) for name in ("among", "most"))
    return unusual.sentence(
        question.words,
        rule=row["rule"],
        seen=row["seen"],
        usual=row["usual"],
        among=among,
        most=most,
    )


def keys_by_label(question: Question) -> "pd.DataFrame":
    """Count the keys that carry each label, the most frequent first; a key counts under each of its own."""
    return _cut(reading.frame(_about(LABELS, question)))


def _cut(frame: "pd.DataFrame") -> "pd.DataFrame":
    frame.attrs["rows"] = TOP
    return frame


def _about(query: str, question: Question) -> sql.Composed:
    return sql.SQL(query).format(
        stock=sql.SQL(measures.STOCK),
        family=question.family(),
        soon=sql.Literal(SOON),
        now=sql.Literal(question.asked_at),
        began=question.within(at="began_at"),
        made=question.within(at="made_at"),
        distributed=question.within(at="distributed_at"),
        redeemed=question.within(),
        about=sql.Literal(question.organization or ""),
    )
