"""An invoice's lines: groups of equal charges, and their shares by learners' organization (B6)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.billing import gathering
from worker.database.lookup import Id
from worker.days import Day, Month
from worker.money import Amount, Percent
from worker.tables.labels import ChargeKind
from worker.tenancy.taxes import Category


class Share(TypedDict):
    """The part of a line for one organization's learners."""

    organization: str
    """Whose learners, by name."""
    quantity: int
    """How many charges."""
    amount: Amount
    """Their sum."""


class ShareOfTotal(TypedDict):
    """The part of an invoice's subtotal for one organization's learners."""

    organization: str
    """Whose learners, by name."""
    amount: Amount
    """The sum of the charges."""


class Credited(TypedDict):
    """The line of an invoice that a line of a credit note credits, and why."""

    invoice: str
    """The invoice's number."""
    issued_on: Day
    """The invoice's day of issue."""
    line: Id
    """The line's id."""
    reason: str
    """The reason for the credit."""


class LineShape(TypedDict):
    """Charges with the same course, pool, kind, service month, unit price and tax rate."""

    id: Id
    """The line's id."""
    course: str
    """The course, by code."""
    course_title: str
    """The course's title; for a finalized invoice, as it was then."""
    pool: Id
    """The keys' pool."""
    pool_name: str
    """The pool's name; for a finalized invoice, as it was then."""
    kind: ChargeKind
    """What the charges are for."""
    service_month: Month
    """The month in which they occurred."""
    unit_price: Amount
    """The amount of each."""
    quantity: int
    """How many they are."""
    amount: Amount
    """Their sum."""
    tax_label: str
    """What the tax on it is called."""
    tax_percent: Percent
    """The rate of that tax."""
    tax_category: Category
    """Its code of EN 16931."""
    credits: Credited | None
    """What a line of a credit note credits; null for an invoice."""


class LineShown(LineShape):
    """A line with its parts by learners' organization."""

    learner_organizations: list[Share]
    """The part for each organization's learners, by name."""


# One row per line or, with shares, per line and learners' organization.
LINES = """
    SELECT invoice_line.*, course.code AS course,
           coalesce(invoice_line.course_title, course.title) AS title,
           coalesce(invoice_line.pool_name, pool.name) AS pool,
           coalesce(tax_rate.label, 'Tax') AS tax_label, coalesce(percent, 0) AS tax_percent,
           coalesce(category, 'Z') AS tax_category,
           credited_invoice.number AS credited_number, credited_invoice.issued_on AS credited_issued_on,
           (SELECT charge.reason FROM invoice_charge JOIN charge ON charge.id = charge_id
             WHERE invoice_charge.invoice_id = invoice_line.invoice_id
               AND invoice_charge.line_id = invoice_line.id AND credited.id IS NOT NULL LIMIT 1)
           AS reason {shares}
      FROM invoice_line
      JOIN course ON course.id = invoice_line.course_id
      JOIN pool ON pool.id = invoice_line.pool_id
      LEFT JOIN tax_rate ON tax_rate.id = invoice_line.tax_rate_id
      LEFT JOIN invoice_line AS credited ON credited.id = invoice_line.credits_line_id
      LEFT JOIN invoice AS credited_invoice ON credited_invoice.id = credited.invoice_id {joined}
     WHERE invoice_line.invoice_id = ANY (:invoice_ids)
     ORDER BY invoice_line.invoice_id, course.code, pool.name, invoice_line.pool_id,
              invoice_line.service_month, invoice_line.kind, invoice_line.unit_price DESC, percent DESC,
              credited_invoice.number, invoice_line.id {ordered}
"""
LINES_ALONE = text(LINES.format(shares="", joined="", ordered=""))
LINES_WITH_SHARES = text(
    LINES.format(
        shares=""", organization.name AS learners, share.quantity AS share_quantity,
           share.quantity * invoice_line.unit_price AS share_amount""",
        joined="""
      LEFT JOIN invoice_share AS share ON share.line_id = invoice_line.id
           AND share.invoice_id = invoice_line.invoice_id
      LEFT JOIN organization ON organization.id = share.learner_organization_id""",
        ordered=", organization.name",
    )
)


def of(session: Session, invoices: Mapping[str, int]) -> dict[str, list[LineShape]]:
    """Give the lines of invoices, by the invoice's id; each comes with its currency's decimals."""
    lines: dict[str, list[LineShape]] = {invoice: [] for invoice in invoices}
    for row in session.execute(LINES_ALONE, {"invoice_ids": [int(id_) for id_ in invoices]}):
        invoice = str(row.invoice_id)
        lines[invoice].append(_line(row, invoices[invoice]))
    return lines


def shared(
    session: Session, invoice: str, decimals: int
) -> tuple[list[LineShown], list[ShareOfTotal]]:
    """Give an invoice's lines with their shares, and the shares' totals."""
    rows = session.execute(LINES_WITH_SHARES, {"invoice_ids": [int(invoice)]}).all()
    return _with_shares(rows, decimals), _totals(rows, decimals)


def _line(row: Row[Any], decimals: int) -> LineShape:
    return {
        "id": str(row.id),
        "course": row.course,
        "course_title": row.title,
        "pool": str(row.pool_id),
        "pool_name": row.pool,
        "kind": ChargeKind(row.kind),
        "service_month": gathering.in_words(row.service_month),
        "unit_price": f"{row.unit_price:.{decimals}f}",
        "quantity": row.quantity,
        "amount": f"{row.amount:.{decimals}f}",
        "tax_label": row.tax_label,
        "tax_percent": f"{row.tax_percent.normalize():f}",
        "tax_category": row.tax_category,
        "credits": _credited(row),
    }


def _credited(row: Row[Any]) -> Credited | None:
    if row.credits_line_id is None:
        return None
    return {
        "invoice": row.credited_number,
        "issued_on": row.credited_issued_on.isoformat(),
        "line": str(row.credits_line_id),
        "reason": row.reason,
    }


def _with_shares(rows: Sequence[Row[Any]], decimals: int) -> list[LineShown]:
    lines: list[LineShown] = []
    for _, of_line in groupby(rows, lambda row: row.id):
        first, *_ = shares = list(of_line)
        shares_of_line: list[Share] = [
            {
                "organization": row.learners,
                "quantity": row.share_quantity,
                "amount": f"{row.share_amount:.{decimals}f}",
            }
            for row in shares
            if row.learners is not None
        ]
        lines.append({**_line(first, decimals), "learner_organizations": shares_of_line})
    return lines


def _totals(rows: Sequence[Row[Any]], decimals: int) -> list[ShareOfTotal]:
    """Sum up the shares of an invoice's lines by learners' organization."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row.learners is not None:
            totals[row.learners] += row.share_amount
    return [
        {"organization": name, "amount": f"{amount:.{decimals}f}"}
        for name, amount in sorted(totals.items())
    ]
