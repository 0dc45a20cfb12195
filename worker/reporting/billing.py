"""Queries of the billing notebook. The views report.charge and report.invoice define the measures.

Amounts of different currencies are never added up. A charge counts in its service month: the month in
which it occurred in the buyer's time zone, whichever invoice it is on.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from psycopg import sql

from worker.languages.phrasebooks import Phrasebook
from worker.languages.phrases import phrase
from worker.reporting import comparing, drawing, measures, reading, showing
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
    is_empty: bool = False
    """Whether there was nothing to compare."""

    def _repr_html_(self) -> str:
        if self.is_empty:
            return f'<p class="nothing">{html.escape(self.sentence)}</p>'
        kind = "agrees" if self.agrees else "differs"
        return f'<p class="verdict {kind}">{html.escape(self.sentence)}</p>'


def reconciliation(question: Question) -> "pd.DataFrame":
    """Compare the period's redemptions, charges and invoices, by currency; no row if there are none."""
    frame = reading.frame(_about(RECONCILIATION, question))
    return frame if frame["one_side"].any() or frame["other_side"].any() else frame.head(0)


def verdict(question: Question) -> Verdict:
    """Say whether redemptions, charges and invoices agree to the minor unit."""
    frame = reconciliation(question)
    book = question.words
    if frame.empty:
        return Verdict(True, showing.nothing_said(question.babel), is_empty=True)
    apart = frame[frame["difference"] != 0]
    if apart.empty:
        said = book.say("Invoices, charges and redemptions agree to the minor unit.")
        return Verdict(True, said)
    lines = apart.groupby("compared", sort=False)["currency"]
    named = "; ".join(_said_once(book, str(line), list(known.dropna())) for line, known in lines)
    said = book.say("These do not agree, and should be looked into: {named}.", named=named)
    return Verdict(False, said)


def _said_once(book: Phrasebook, line: str, currencies: Sequence[str]) -> str:
    """Name what was compared, with the currencies in which it differs."""
    said = book.translate(line)
    return f"{said} ({', '.join(currencies)})" if currencies else said


def revenue_totals(question: Question) -> "pd.DataFrame":
    """Add up what was charged, credited, invoiced and is unbilled in the period, by currency."""
    return reading.frame(_about(TOTALS, question))


def revenue_compared(question: Question) -> "pd.DataFrame":
    """Give the period's revenue, a row a currency, beside that of earlier periods."""

    def read(asked: Question) -> "pd.DataFrame":
        frame = revenue_totals(asked)[["currency", "revenue"]]
        frame.attrs["figures"] = True
        return frame

    return comparing.beside(question, read)


def revenue_changed(question: Question) -> comparing.Opening:
    """Say how revenue changed in the currency in which it changed most, and for which course most."""
    return comparing.changed(question, _earned, revenue_by_course, name="course", count="revenue")


def _earned(book: Phrasebook, amount: Decimal, currency: str | None) -> str:
    if currency is None:
        return book.say("There was no revenue")
    return book.say(
        "Revenue in {currency} was {amount}",
        currency=currency,
        amount=showing.money(amount, currency, book.locale),
    )


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
    return question.titled(_by(question, "course", order="currency, revenue DESC, course"))


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
    frame = reading.frame(
        sql.SQL(BY).format(
            name=sql.Identifier(name),
            revenue=sql.SQL(measures.REVENUE),
            within=question.within(at="occurred_at"),
            order=sql.SQL(order),
        )
    )
    frame.attrs["sums"] = ["redemptions", "revenue", "invoiced", "unbilled"]
    return frame


def _about(query: str, question: Question) -> sql.Composed:
    return sql.SQL(query).format(
        charged=sql.SQL(measures.CHARGED),
        revenue=sql.SQL(measures.REVENUE),
        within=question.within(at="occurred_at"),
        attempted=question.within(),
        months=question.months(),
    )
