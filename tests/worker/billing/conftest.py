"""What tests of billing start from."""

import pytest
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, Buyer, add_buyer, redeem, set_clock
from worker.billing import runs


@pytest.fixture
def buyer(session: Session) -> Buyer:
    """Who is billed, at 19 % tax."""
    return add_buyer(session, tax_rate="19", time_zone="Europe/Berlin")


@pytest.fixture
def draft(session: Session, buyer: Buyer) -> str:
    """The id of a draft of May with two charges; it is 20 June."""
    redeem(session, buyer.pool, "2026-05-05", "2026-05-06")
    set_clock(session, "2026-06-20T22:30")
    drafted, _ = runs.bill(session, actor=OPERATOR, organization_id=buyer.id)
    return str(*drafted)
