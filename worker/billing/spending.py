"""What was charged in spans of time, by the tally of charges."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.days import Span
from worker.money import Amount
from worker.tenancy import currencies
from worker.tenancy.actors import Actor, Role


class Charged(TypedDict):
    """What a span of time was charged in one currency; credits count as what they give back."""

    currency: str
    """The currency, by its ISO 4217 code."""
    quantity: int
    """How many charges and credits."""
    amount: Amount
    """Their sum."""


# A row of the tally is of a quarter of an hour.
IN_SPANS = text("""
    SELECT span.number, currency, sum(quantity)::bigint AS quantity, sum(amount) AS amount
      FROM unnest(CAST(:since AS timestamptz[]), CAST(:until AS timestamptz[]))
               WITH ORDINALITY AS span (since, until, number)
      JOIN pool_charged ON charged_at >= span.since AND charged_at < span.until
     WHERE CAST(:organization_id AS bigint) IS NULL OR pool_id IN (
           SELECT pool.id FROM pool JOIN organization_ancestry ON descendant_id = organization_id
            WHERE ancestor_id = :organization_id)
     GROUP BY span.number, currency ORDER BY span.number, currency
""")


def in_spans(session: Session, *, actor: Actor, spans: Sequence[Span]) -> list[list[Charged]]:
    """Say what was charged in each of some spans, by currency, as the list of charges has it.

    A span begins and ends at a quarter of an hour; one in which nothing was charged has no currency.
    """
    actor.require(Role.FINANCE, Role.ANALYST)
    parameters = {
        "since": [span.since for span in spans],
        "until": [span.until for span in spans],
        "organization_id": actor.organization_id,
    }
    charged: list[list[Charged]] = [[] for _ in spans]
    for row in session.execute(IN_SPANS, parameters):
        amount = currencies.text(session, row.amount, row.currency)
        of_span: Charged = {"currency": row.currency, "quantity": row.quantity, "amount": amount}
        charged[row.number - 1].append(of_span)
    return charged
