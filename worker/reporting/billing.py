"""Queries of the billing notebook. The views report.charge and report.invoice define the measures.

Amounts of different currencies are never added up. A charge counts in its service month: the month in
which it occurred in the buyer's time zone, whichever invoice it is on.
"""

import html
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from psycopg import sql

from worker.languages.phrases import phrase
from worker.reporting import drawing, measures, reading, showing
from worker.reporting.question import Question

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TOTALS = """
    SELECT currency, {charged}, {revenue}
      FROM report.charge WHERE {within}
     GROUP BY currency ORDER BY revenue DESC, currency"""

BY = """
    SELECT {name}, currency, count(*) FILTER (WHERE kind = 'redemption') AS redemptions, {revenue}
      FROM report.charge WHERE {within}
     GROUP BY {name}, currency ORDER BY {order}"""

INVOICES = """
    SELECT * FROM (
        SELECT CASE WHEN overdue THEN 'overdue' ELSE status END AS status, currency,
               count(*) AS invoices, sum(subtotal) AS subtotal, sum(tax) AS tax, sum(total) AS total
          FROM report.invoice WHERE {months}
         GROUP BY 1, 2) AS counted
     ORDER BY array_position('{{overdue,finalized,draft,paid,void}}', status), currency"""

# What cancelled out stands on no invoice and is billed all the same: its charge may be of one period, and its
# credit of the next.
# Each row compares two figures from different tables: the charges of the period, and the invoices of
# its months, which may also have earlier charges.
RECONCILIATION = """
    WITH owed AS (
        SELECT currency, count(*) FILTER (WHERE kind = 'redemption') AS redemptions,
               coalesce(sum(amount) FILTER (WHERE NOT unbilled), 0) AS billed,
               coalesce(sum(amount) FILTER (WHERE invoice_id IS NOT NULL OR cancelled_out), 0) AS carried
          FROM report.charge WHERE {within} GROUP BY currency),
    invoiced AS (
        SELECT currency, sum(subtotal) AS subtotals, sum(lines) AS lines, sum(charges) AS charges,
               sum(total) - sum(tax) AS totals
          FROM report.invoice WHERE status <> 'void' AND {months} GROUP BY currency),
    compared AS (
        SELECT 1 AS place, 'Redemptions against their charges' AS compared, NULL AS currency,
               (SELECT count(*) FROM report.redemption WHERE answer = 'redeemed' AND {attempted})::numeric
                   AS one_side,
               coalesce(sum(redemptions), 0) AS other_side FROM owed
        UNION ALL
        SELECT 2, 'Charges on invoices against charges marked as billed', currency, carried, billed FROM owed
        UNION ALL
        SELECT 3, 'Invoices against the charges on them', currency, subtotals, charges FROM invoiced
        UNION ALL
        SELECT 4, 'Invoices against their lines', currency, subtotals, lines FROM invoiced
        UNION ALL
        SELECT 5, 'Invoices'' totals less tax against their subtotals', currency, totals, subtotals
          FROM invoiced)
    SELECT compared, currency, one_side, other_side, one_side - other_side AS difference
      FROM compared ORDER BY place, currency"""


@dataclass(frozen=True)
class Verdict:
    """Whether both sides agree, in a sentence that a notebook shows large."""

    agrees: bool
    sentence: str

    def _repr_html_(self) -> str:
        kind = "agrees" if self.agrees else "differs"
        return f'<p class="verdict {kind}">{html.escape(self.sentence)}</p>'


def reconciliation(question: Question) -> "pd.DataFrame":
    """Compare the period's redemptions, charges and invoices, by currency."""
    return reading.frame(_about(RECONCILIATION, question))


def verdict(question: Question) -> Verdict:
    """Say whether redemptions, charges and invoices agree to the minor unit."""
    frame = reconciliation(question)
    if not frame["one_side"].any() and not frame["other_side"].any():
        return Verdict(True, "Nothing yet: there is no redemption, charge or invoice to compare.")
    apart = frame[frame["difference"] != 0]
    if apart.empty:
        return Verdict(True, "Invoices, charges and redemptions agree to the minor unit.")
    named = "; ".join(str(line) for line in apart["compared"])
    return Verdict(False, f"These do not agree, and should be looked into: {named}.")


def revenue_totals(question: Question) -> "pd.DataFrame":
    """Add up what was charged, credited, invoiced and is unbilled in the period, by currency."""
    return reading.frame(_about(TOTALS, question))


def revenue_by_month(question: Question) -> "pd.DataFrame":
    """Add up revenue by service month and currency."""
    return _by(question, "service_month", order="service_month, currency")


def draw_revenue_by_month(question: Question) -> "Figure":
    """Draw revenue by service month, invoiced and unbilled, a chart for each currency."""
    import pandas as pd

    frame, title = revenue_by_month(question), phrase("Revenue by month")
    if frame.empty:
        return drawing.nothing(title)
    months = _months(frame["service_month"].min(), frame["service_month"].max())
    sums, charts, named = [], {}, question.words.say(title)
    for currency, part in frame.groupby("currency", sort=False):
        earned = sum(part["revenue"].tolist(), Decimal())
        sums.append(showing.money(earned, str(currency), question.babel))
        shown = part.set_index("service_month").reindex(pd.DatetimeIndex(months))
        invoiced, unbilled = (
            shown[name].astype(float).fillna(0).tolist() for name in ("invoiced", "unbilled")
        )
        parts = {
            phrase("Invoiced"): (invoiced, drawing.BLUE),
            phrase("Unbilled"): (unbilled, drawing.ORANGE),
        }
        charts[f"{named}, {currency}"] = (months, parts, str(currency))
    return drawing.months(
        f"{named}: {', '.join(sums)}.",
        charts,
        locale=question.babel,
        unfinished=question.unfinished(months),
    )


def revenue_by_course(question: Question) -> "pd.DataFrame":
    """Add up revenue by course and currency."""
    return _by(question, "course", order="currency, revenue DESC, course")


def revenue_by_organization(question: Question) -> "pd.DataFrame":
    """Add up revenue by the organization that owes it, and currency."""
    return _by(question, "organization", order="currency, revenue DESC, organization")


def invoices_by_status(question: Question) -> "pd.DataFrame":
    """Count the invoices of the period's months by status and currency; overdue ones apart."""
    return reading.frame(_about(INVOICES, question))


def _months(first: date, last: date) -> list[date]:
    """Give the first days of the months from one to another: those without revenue, too."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    return [
        date(first.year + (first.month - 1 + n) // 12, (first.month - 1 + n) % 12 + 1, 1)
        for n in range(count)
    ]


def _by(question: Question, name: str, *, order: str) -> "pd.DataFrame":
    return reading.frame(
        sql.SQL(BY).format(
            name=sql.Identifier(name),
            revenue=sql.SQL(measures.REVENUE),
            within=question.within(at="occurred_at"),
            order=sql.SQL(order),
        )
    )


def _about(query: str, question: Question) -> sql.Composed:
    return sql.SQL(query).format(
        charged=sql.SQL(measures.CHARGED),
        revenue=sql.SQL(measures.REVENUE),
        within=question.within(at="occurred_at"),
        attempted=question.within(),
        months=question.months(),
    )
