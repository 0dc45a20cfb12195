import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.learning import expiring, extending


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session, share_with_children=True)


def test_extending_revives_an_expired_assignment(world):
    held = world.redeemed()
    pass_time(world.session, days=31)
    expiring.expire_overdue(world.session, limit=10)

    extended = extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=10)

    assert (extended["status"], extended["valid"], extended["days_left"]) == ("active", True, 9)


def test_extending_until_a_day_includes_that_day(world):
    held = world.redeemed()

    extended = extending.extend(world.session, actor=OPERATOR, assignment=held, until="2030-05-31")

    assert extended["expires_at"].isoformat() == "2030-06-01T00:00:00+00:00"


def test_extending_at_a_price_charges_the_pools_owner(world):
    held = world.redeemed(organization=world.child)

    extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=5, price="9.50")

    charge = world.figures("SELECT amount, organization_id FROM charge WHERE kind = 'extension'")
    assert (str(charge.amount), charge.organization_id) == ("9.5000", world.parent)


@pytest.mark.parametrize(
    "new_end",
    [
        {},
        {"until": "2030-01-01", "by_days": 3},
        {"by_days": 0},
        {"by_days": 10**12},
        {"by_days": -(10**12)},
        {"until": "2000-01-01"},
        {"until": "tomorrow"},
    ],
)
def test_an_extension_needs_one_later_end(world, new_end):
    held = world.redeemed()

    with pytest.raises(errors.InvalidInputError):
        extending.extend(world.session, actor=OPERATOR, assignment=held, **new_end)


def test_an_expired_assignment_stays_expired_where_the_learner_holds_another(world):
    first = world.redeemed()
    pass_time(world.session, days=31)
    world.redeemed()

    with pytest.raises(errors.LiveAssignmentError):
        extending.extend(world.session, actor=OPERATOR, assignment=first, by_days=90)
