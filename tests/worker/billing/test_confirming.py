"""What a person confirms before an invoice is finalized, and what a run leaves to them."""

from datetime import date, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, add_buyer, redeem, set_clock
from worker import errors
from worker.billing import confirming, invoices, runs, seller
from worker.database import connections
from worker.tenancy import actors

FORGET = text("UPDATE seller SET name = '', address = '', street = '', tax_id = ''")


def draft_of(session: Session, name: str = "Academy") -> str:
    """Draft an invoice of what was redeemed on 20 May 2026; it is 2 June."""
    buyer = add_buyer(session, name, time_zone="Europe/Berlin")
    redeem(session, buyer.pool, "2026-05-20")
    set_clock(session, "2026-06-02T12:00Z")
    drafted, _ = runs.bill(session, actor=OPERATOR, organization_id=buyer.id)
    return str(*drafted)


def running_draft(session: Session) -> str:
    """Draft an invoice of the running month, in the zone where it ends last."""
    buyer = add_buyer(session, "Early", time_zone="America/Los_Angeles")
    set_clock(session, "2026-06-01T03:00Z")  # still May there
    redeem(session, buyer.pool, "2026-05-20")
    drafted, _ = runs.bill(
        session, actor=OPERATOR, organization_id=buyer.id, month=date(2026, 5, 1)
    )
    return str(*drafted)


@pytest.fixture
def nobody(session):
    session.execute(FORGET)


def test_a_seller_who_lacks_something_is_named_and_asked_about(session, nobody):
    draft = draft_of(session)

    with pytest.raises(confirming.NotConfirmedError) as refusal:
        invoices.finalize(session, actor=OPERATOR, invoice=draft)

    assert str(refusal.value) == (
        "The seller has no name and no address and no tax id: put that right first, or confirm it"
        " (“anyway”)."
    )
    assert invoices.show(session, actor=OPERATOR, invoice=draft)["status"] == "draft"


def test_it_is_finalized_anyway_once_that_is_confirmed(session, nobody):
    draft = draft_of(session)

    final = invoices.finalize(session, actor=OPERATOR, invoice=draft, anyway=True)

    assert final["number"]


def test_a_month_that_is_not_over_for_the_buyer_asks_to_be_confirmed(session):
    draft = running_draft(session)

    with pytest.raises(errors.RefusedError, match="2026-05 is not over yet: "):
        invoices.finalize(session, actor=OPERATOR, invoice=draft)

    set_clock(session, "2026-06-01T07:00Z")
    assert invoices.finalize(session, actor=OPERATOR, invoice=draft)["number"]


def test_a_draft_without_doubts_is_finalized_without_being_asked_about(session):
    draft = draft_of(session)

    assert invoices.doubts(session, actor=OPERATOR, invoice=draft) == []
    assert invoices.finalize(session, actor=OPERATOR, invoice=draft)["number"]


def test_a_run_leaves_drafts_until_the_seller_is_complete_and_says_what_is_missing(fresh_database):
    with connections.session() as session:
        session.execute(FORGET)
        buyer = add_buyer(session)
        redeem(session, buyer.pool, "2026-05-20")

    left = runs.run(actor=OPERATOR, finalize=True).shape()
    scheduled = runs.run_scheduled(actor=OPERATOR)
    with connections.session() as session:
        told = confirming.held_up(session, actor=OPERATOR)
        others = confirming.held_up(session, actor=actors.Actor("x", actors.Role.FINANCE, buyer.id))
        seller.edit(session, actor=OPERATOR, name="Keys GmbH", street="Kai 1", tax_id="1")
    done = runs.run(actor=OPERATOR, finalize=True).shape()

    assert (left["finalized"], left["left"]) == ([], left["drafted"])
    assert left["lacks"] == ["name", "address", "tax id"]
    assert (scheduled["finalized"], scheduled["left"]) == (0, 1)
    assert told == {"drafts": 1, "lacks": left["lacks"]}
    assert others["drafts"] == 0
    assert (done["finalized"], done["left"], done["lacks"]) == (left["left"], [], [])


def test_a_run_finalizes_anyway_when_it_is_told_to(fresh_database):
    with connections.session() as session:
        session.execute(FORGET)
        redeem(session, add_buyer(session).pool, "2026-05-20")

    done = runs.run(actor=OPERATOR, finalize=True, anyway=True)

    assert len(done.finalized) == 1


def test_a_draft_in_its_grace_is_not_said_to_be_left(session, nobody):
    draft = draft_of(session)

    within = confirming.left(session, month=None, grace=timedelta(days=3))
    beyond = confirming.left(session, month=None, grace=timedelta(days=1))

    assert (within, beyond) == ([], [int(draft)])
