"""The report's reconciliation of charges with invoices, on charges that no invoice carries."""

from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.conftest import Addresses
from tests.ledger import OPERATOR, add_buyer, redeem, set_clock
from worker import reporting
from worker.billing import charges, runs
from worker.database import connections


def credit_before_the_run(session: Session) -> None:
    """Redeem in May, credit in June, and bill both in July."""
    buyer = add_buyer(session)
    [charge] = redeem(session, buyer.pool, "2026-05-30")
    set_clock(session, "2026-06-02")
    charges.credit(session, actor=OPERATOR, charge=str(charge), reason="A mistake")
    set_clock(session, "2026-07-20")
    runs.bill(session, actor=OPERATOR, organization_id=buyer.id)


def test_what_cancelled_out_over_two_months_agrees(database: Addresses) -> None:
    connections.transaction(credit_before_the_run)

    asked = reporting.ask(organization=None, from_=date(2026, 5, 1), to=date(2026, 5, 31))
    cancelled_out = connections.transaction(
        lambda session: session.scalar(text("SELECT count(*) FROM charge_cancelled_out"))
    )

    assert cancelled_out == 2
    assert reporting.revenue_totals(asked)["redemptions"].tolist() == [1]
    compared = reporting.reconciliation(asked).set_index("compared")["difference"]
    assert compared["Charges on invoices against charges marked as billed"] == 0
