from datetime import timedelta

import pytest

from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.learning import assignments, cancelling, extending
from worker.tenancy.actors import Actor, Role


def show(world: World, assignment: str) -> dict:
    return assignments.show(world.session, actor=OPERATOR, assignment=assignment)


def access(world: World, assignment: str) -> assignments.Access:
    return assignments.access(world.session, actor=OPERATOR, assignment=assignment)


def test_access_ends_exactly_so_many_times_24_hours_after_redemption(world):
    held = world.redeemed()

    pass_time(world.session, days=30, seconds=-1)
    before = access(world, held)
    pass_time(world.session, seconds=1)
    after = access(world, held)

    assert (before.allowed, before.reason) == (True, "valid")
    assert (after.allowed, after.reason) == (False, "expired")


def test_what_was_done_to_an_assignment_is_told_by_its_history(world):
    held = world.redeemed()
    extending.extend(world.session, actor=OPERATOR, assignment=held, by_days=2)
    cancelling.cancel(world.session, actor=OPERATOR, assignment=held, reason="a mistake")

    acts = show(world, held)["history"]
    told = [(act["actor"], act["action"], act["detail"]["learner"]) for act in acts]

    address = show(world, held)["learner"]
    assert told == [
        ("test", "assignment extended", address), ("test", "assignment cancelled", address),
    ]  # fmt: skip


def test_another_organizations_assignment_reads_as_if_it_did_not_exist(world):
    held = world.redeemed()
    stranger = Actor("token", Role.MANAGER, world.sibling)

    for call in (assignments.show, assignments.access, cancelling.cancel):
        with pytest.raises(errors.NotFoundError):
            call(world.session, actor=stranger, assignment=held)


@pytest.mark.parametrize("name", ["0", "-1", "x", "9" * 30, "1; DROP TABLE key"])
def test_an_unknown_assignment_is_not_found_whatever_it_is_called(world, name):
    with pytest.raises(errors.NotFoundError):
        access(world, name)


def test_those_that_end_soon_are_listed_for_reminders(world):
    soon = world.redeemed()
    pass_time(world.session, days=20)
    world.redeemed("bob@example.org")

    listed = assignments.listing(
        world.session,
        actor=OPERATOR,
        filters=assignments.Filters(expiring_within=timedelta(days=14)),
    ).items

    assert [item["id"] for item in listed] == [soon]


def test_assignments_are_found_by_pieces_of_their_learners_address_and_name(world):
    ann, bob = (world.redeemed(f"{name}@example.org") for name in ("ann.lee", "bob.lee"))

    def found(search: str) -> list[str]:
        filters = assignments.Filters(search=search)
        listed = assignments.listing(world.session, actor=OPERATOR, filters=filters, counted=9)
        assert listed.total == len(listed.items)  # type: ignore[attr-defined]  # a Turned one
        return [item["id"] for item in listed.items]

    assert found("LEE example") == [ann, bob]
    assert found("org bob") == [bob]
    assert found("ann.lee@example.org") == [ann]
    assert found("nobody") == []


def test_learners_at_risk_never_launched_and_half_of_their_access_is_gone(world):
    ended, risky, begun = (world.redeemed(f"{name}@example.org") for name in ("ann", "bob", "cleo"))
    cancelling.cancel(world.session, actor=OPERATOR, assignment=ended)
    world.launched(begun)
    later = world.redeemed("dora@example.org")
    extending.extend(world.session, actor=OPERATOR, assignment=later, by_days=1)
    filters = assignments.Filters(at_risk=True)

    def listed() -> list[str]:
        found = assignments.listing(world.session, actor=OPERATOR, filters=filters).items
        asked = {"actor": OPERATOR, "filters": filters}
        assert assignments.total(world.session, **asked) == len(found)
        assert assignments.total(world.session, **asked, most=0) == min(len(found), 1)
        return [item["id"] for item in found]

    pass_time(world.session, days=15, seconds=-1)
    before = listed()
    pass_time(world.session, seconds=1)

    assert (before, listed()) == ([], [risky])
