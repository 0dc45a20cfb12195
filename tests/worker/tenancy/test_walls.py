"""What the domain shows through the web's login, where row level security stands too."""

import pytest
from sqlalchemy import text

from tests import world as worlds
from worker import errors
from worker.database.connections import Login
from worker.database.connections import session as transaction_of
from worker.learning import assignments, cancelling, extending
from worker.redemption import attempts, deciding


@pytest.fixture
def world(fresh_database):
    """A parent's shared pool; a child's learner redeemed, a stranger's learner tried."""
    with transaction_of() as opened:
        world = worlds.build(opened, share_with_children=True)
        one, two = world.keys(2)
        events = [
            world.request(one, "ann@child.example", organization=world.child),
            world.request(two, "eve@stranger.example", organization=world.sibling),
        ]
        deciding.settle(opened, event_ids=events)
        opened.execute(
            text("UPDATE event SET organization_id = :sibling WHERE id = :event"),
            {"sibling": world.sibling, "event": events[1]},
        )
    return world


def seen_by(organization: int, call, **given):
    actor = worlds.entered(organization)
    with transaction_of(Login.WEB, sees=actor.scope) as opened:
        return call(opened, actor=actor, **given)


def test_a_child_sees_its_learners_assignment_but_not_its_parents_key(world):
    [seen] = seen_by(world.child, assignments.listing).items

    assert (seen["learner"], seen["key"]) == ("ann@child.example", None)


def test_a_child_may_extend_for_nothing_but_neither_cancel_nor_charge_its_parent(world):
    extended = seen_by(world.child, extending.extend, assignment="1", by_days=1)

    assert extended["days_left"] == 31
    with pytest.raises(errors.ForbiddenError):
        seen_by(world.child, extending.extend, assignment="1", by_days=1, price="1")
    with pytest.raises(errors.ForbiddenError):
        seen_by(world.child, cancelling.cancel, assignment="1")


def test_a_parent_cancels_for_its_childs_learner(world):
    cancelled = seen_by(world.parent, cancelling.cancel, assignment="1")

    assert cancelled["status"] == "cancelled"


def test_a_pools_owner_sees_a_strangers_attempt_masked(world):
    seen = seen_by(world.parent, attempts.listing).items

    assert {(a["learner"], a["outcome"]) for a in seen} == {
        ("e***@s***", "not_available_to_organization"),
        ("ann@child.example", "redeemed"),
    }


def test_a_stranger_sees_nothing(world):
    assert seen_by(world.sibling, assignments.listing).items == []
    assert seen_by(world.sibling, attempts.listing).items == []
    with pytest.raises(errors.NotFoundError):
        seen_by(world.sibling, assignments.show, assignment="1")
