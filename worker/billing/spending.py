"""What was charged in spans of time, by the tally of charges."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days
from worker.days import Span
from worker.money import Amount
from worker.tenancy.actors import Actor, Role


class Charged(TypedDict):
    """What a span of time was charged in one currency; credits count as what they give back."""

    currency: str
    """The currency, by its ISO 4217 code."""
    quantity: int
    """How many charges and credits."""
    amount: Amount
    """Their sum."""


# A row of the tally is of a quarter of an hour: each is read once, in however many spans it is.
IN_PIECES = text("""
    SELECT width_bucket(charged_at, CAST(:edges AS timestamptz[])) AS piece,
           currency, minor_unit(currency) AS decimals, sum(quantity)::bigint AS quantity, sum(amount) AS amount
      FROM pool_charged
     WHERE charged_at >= :since AND charged_at < :until
       AND (CAST(:organization_id AS bigint) IS NULL OR pool_id IN (
            SELECT pool.id FROM pool JOIN organization_ancestry ON descendant_id = organization_id
             WHERE ancestor_id = :organization_id))
     GROUP BY piece, currency
""")


def in_spans(session: Session, *, actor: Actor, spans: Sequence[Span]) -> list[list[Charged]]:
    """Say what was charged in each of some spans, by currency, as the list of charges has it.

    A span begins and ends at a quarter of an hour; one in which nothing was charged has no currency.
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    edges = days.edges(spans)
    asked = {"edges": edges, "since": edges[0], "until": edges[-1]}
    rows = session.execute(IN_PIECES, {**asked, "organization_id": actor.organization_id}).all()
    return [_sums([row for row in rows if row.piece in days.pieces(span, edges)]) for span in spans]


def _sums(rows: Sequence[Row[Any]]) -> list[Charged]:
    return [
        _sum([row for row in rows if row.currency == currency])
        for currency in sorted({row.currency for row in rows})
    ]


def _sum(rows: Sequence[Row[Any]]) -> Charged:
    """Add up the rows of one currency."""
    amount = sum(row.amount for row in rows)
    return {
        "currency": rows[0].currency,
        "quantity": sum(row.quantity for row in rows),
        "amount": f"{amount:.{rows[0].decimals}f}",
    }
