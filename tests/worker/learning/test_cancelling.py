import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.billing import charges
from worker.learning import assignments, cancelling, extending
from worker.redemption import trouble
from worker.tenancy.actors import Actor, Role


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session, share_with_children=True)


def show(world: World, assignment: str) -> dict:
    return assignments.show(world.session, actor=OPERATOR, assignment=assignment)


def test_cancelling_soon_and_unlaunched_credits_the_charge_and_issues_the_key_again(world):
    [code] = world.keys(1)
    held = world.redeemed(code=code)

    cancelled = cancelling.cancel(world.session, actor=OPERATOR, assignment=held)

    assert cancelled["status"] == "cancelled"
    assert world.figures("SELECT sum(amount) AS due, count(*) AS n FROM charge") == (0, 2)
    assert world.redeemed("bob@example.org", code) != held


def test_a_cancelled_redemptions_key_is_retired_where_the_caller_says_so(world):
    held = world.redeemed()

    cancelling.cancel(world.session, actor=OPERATOR, assignment=held, retire_key=True)

    assert world.figures("SELECT state FROM key").state == "retired"


@pytest.mark.parametrize("late", [True, False])
def test_cancelling_late_or_after_a_launch_takes_a_reason_and_credits_nothing(world, late):
    held = world.redeemed()
    if late:
        pass_time(world.session, days=1)
    else:
        world.launched(held)

    with pytest.raises(errors.InvalidInputError):
        cancelling.cancel(world.session, actor=OPERATOR, assignment=held)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=held, reason="left the company")

    state = world.figures("SELECT state, (SELECT count(*) FROM charge) AS charges FROM key")
    assert (state.state, state.charges) == ("retired", 1)


@pytest.mark.parametrize("late", [True, False])
def test_what_cancelling_costs_is_told_before(world, late):
    held = world.redeemed()
    if late:
        world.launched(held)

    told = cancelling.preview(world.session, actor=OPERATOR, assignment=held)

    assert told == {"credited": not late, "amount": "49.90", "currency": "EUR"}


def test_what_a_partly_credited_redemption_costs_is_what_is_left_of_it(world):
    held = world.redeemed()
    charge = str(world.figures("SELECT id FROM charge").id)
    charges.credit(world.session, actor=OPERATOR, charge=charge, amount="9.90", reason="late start")

    told = cancelling.preview(world.session, actor=OPERATOR, assignment=held)

    assert told == {"credited": True, "amount": "40.00", "currency": "EUR"}


def test_whoever_does_not_own_the_pool_learns_no_cost(world):
    held = world.redeemed(organization=world.child)
    child = Actor("child", Role.MANAGER, world.child)

    assert cancelling.preview(world.session, actor=child, assignment=held) is None


def test_a_cancelled_assignment_is_neither_cancelled_again_nor_extended(world):
    held = world.redeemed()
    cancelling.cancel(world.session, actor=OPERATOR, assignment=held)

    with pytest.raises(errors.AssignmentCancelledError):
        cancelling.cancel(world.session, actor=OPERATOR, assignment=held)
    with pytest.raises(errors.AssignmentCancelledError):
        extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=1)


def test_a_cancelled_redemptions_key_is_redeemed_by_another_and_the_first_stays_in_sight(world):
    [code] = world.keys(1)
    first = world.redeemed("ann@example.org", code)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=first)

    second = world.redeemed("bob@example.org", code)

    shown = trouble.show(world.session, actor=OPERATOR, code=code)
    assert (shown["redeemed_by"], shown["assignment"]) == ("bob@example.org", second)
    assert [(one["learner"], one["outcome"], one["assignment"]) for one in shown["attempts"]] == [
        ("bob@example.org", "redeemed", second),
        ("ann@example.org", "redeemed", first),
    ]
    assert show(world, first)["status"] == "cancelled"
