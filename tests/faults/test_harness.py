"""The harness itself: what it must notice is planted, and noticed."""

import pytest
from sqlalchemy import text

from tests import world as worlds
from tests.faults.checker import check
from tests.faults.senders import History
from worker.database.connections import session as transaction_of
from worker.redemption import settling


@pytest.fixture
def world(fresh_database):
    """Three keys, two racers each, all settled; the history has every message."""
    with transaction_of() as opened:
        world = worlds.build(opened)
        for key in world.keys(3):
            for racer in ("ann", "bob"):
                world.request(key, f"{racer}-{key}@example.org")
    settling.settle_all()
    return world


@pytest.fixture
def history(world) -> History:
    with transaction_of() as opened:
        ids = opened.scalars(text("SELECT webhook_id FROM event")).all()
    return History(acknowledged=dict(zip(ids, ids, strict=True)))


def plant(*statements: str) -> None:
    with transaction_of() as opened:
        for statement in statements:
            opened.execute(text(statement))


def test_it_finds_nothing_wrong_where_nothing_is(history):
    assert check(history) == {"redeemed": 3, "already_redeemed": 3}


def test_it_notices_an_acknowledged_event_that_is_not_there(history):
    history.acknowledged["answered-but-never-committed"] = "1"

    with pytest.raises(AssertionError, match="1 acknowledged events are lost"):
        check(history)


def test_it_notices_an_event_that_nobody_settles(world, history):
    with transaction_of() as opened:
        worlds.World(**{**world.__dict__, "session": opened}).request("X-NEVER-1", "x@example.org")

    with pytest.raises(AssertionError, match="1 events are stuck"):
        check(history, within=0.5)


def test_it_notices_a_key_that_was_spent_twice(history):
    plant(
        "DROP INDEX assignment_comes_from_one_redemption",
        "UPDATE redemption SET outcome = 'redeemed', assignment_id = 1 WHERE event_id = 2",
    )

    with pytest.raises(AssertionError, match="1 keys were spent twice"):
        check(history)


def test_it_notices_a_winner_who_was_not_first(history):
    plant("UPDATE event SET received_at = received_at - interval '1 minute' WHERE id = 2")

    with pytest.raises(AssertionError, match="1 keys went to somebody who was not first"):
        check(history)


def test_it_notices_a_doubled_charge(history):
    plant(
        "DROP INDEX assignment_is_charged_once",
        "INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,"
        " assignment_id, amount, currency, occurred_at)"
        " SELECT kind, organization_id, learner_organization_id, course_id, pool_id,"
        " assignment_id, amount, currency, occurred_at FROM charge WHERE id = 1",
    )

    with pytest.raises(AssertionError, match="redeemed keys = assignments"):
        check(history)
