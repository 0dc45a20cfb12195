from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker import errors
from worker.learning import assignments, bulk, cancelling, expiring
from worker.learning.assignments import Filters
from worker.redemption import deciding
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def redeemed(world: World, *emails: str) -> list[str]:
    """Redeem a key for each learner and give the assignments' ids."""
    events = [world.request(world.keys(1)[0], email) for email in emails]
    deciding.settle(world.session, event_ids=events)
    found = "SELECT assignment_id AS id FROM event WHERE id = :id"
    return [str(world.figures(found, id=event).id) for event in events]


def extend(world: World, *ids: str, actor: Actor = OPERATOR, **given: object):
    given.setdefault("by_days", 10)
    return bulk.extend(world.session, actor=actor, ids=ids, **given)


def results(page) -> dict[str, str]:
    return {item["assignment"]: item["code"] or item["result"] for item in page.items}


def status(world: World, assignment: str) -> str:
    return assignments.show(world.session, actor=OPERATOR, assignment=assignment)["status"]


def end(world: World, assignment: str):
    return assignments.show(world.session, actor=OPERATOR, assignment=assignment)["expires_at"]


def test_each_of_the_named_comes_out_for_itself(world):
    ann, bob, eve = redeemed(world, "ann@example.org", "bob@example.org", "eve@example.org")
    cancelling.cancel(world.session, actor=OPERATOR, assignment=bob)
    before = end(world, ann)

    page = extend(world, eve, bob, ann, "999999999", "no such")

    assert results(page) == {
        ann: "extended",
        bob: "assignment_cancelled",
        eve: "extended",
        "999999999": "not_found",
        "no such": "not_found",
    }
    assert end(world, ann) == before + timedelta(days=10)
    refused = next(item for item in page.items if item["assignment"] == bob)
    assert (refused["result"], refused["expires_at"]) == ("refused", None)
    assert refused["reason"].endswith(".")


def test_what_is_named_twice_is_extended_once(world):
    [ann] = redeemed(world, "ann@example.org")
    before = end(world, ann)

    extend(world, ann, ann)

    assert end(world, ann) == before + timedelta(days=10)


def test_a_pools_assignments_are_extended_page_by_page_but_for_the_cancelled(world):
    ids = redeemed(world, *(f"learner{n}@example.org" for n in range(5)))
    cancelling.cancel(world.session, actor=OPERATOR, assignment=ids[1])
    elsewhere = redeemed(worlds.build(world.session), "ann@example.org")[0]
    there = end(world, elsewhere)

    first = extend(world, filters=Filters(pool=world.pool), limit=3)
    second = extend(world, filters=Filters(pool=world.pool), limit=3, after=first.next)

    assert list(results(first)) == [ids[0], ids[2], ids[3]]
    assert (list(results(second)), second.next) == ([ids[4]], None)
    assert end(world, elsewhere) == there


def test_a_learners_are_chosen_in_any_letter_case(world):
    ann, _ = redeemed(world, "ann@example.org", "bob@example.org")

    assert list(results(extend(world, filters=Filters(learner=" Ann@Example.ORG ")))) == [ann]


def test_those_that_soon_end_are_chosen_and_those_that_ended_are_not(world):
    [early] = redeemed(world, "early@example.org")
    pass_time(world.session, days=20)
    redeemed(world, "late@example.org")

    soon = results(
        extend(world, filters=Filters(pool=world.pool, expiring_within=timedelta(days=14)))
    )
    pass_time(world.session, days=60)
    over = results(
        extend(world, filters=Filters(pool=world.pool, expiring_within=timedelta(days=14)))
    )

    assert (list(soon), over) == ([early], {})


def test_a_refusal_of_the_database_leaves_the_others_as_they_come_out(world):
    old, other = redeemed(world, "ann@example.org", "bob@example.org")
    pass_time(world.session, days=31)
    expiring.expire_overdue(world.session, limit=100)
    redeemed(world, "ann@example.org")

    page = extend(world, old, other, by_days=60)

    assert results(page) == {old: "live_assignment", other: "extended"}
    assert status(world, old) == "expired"
    assert status(world, other) == "active"


def test_many_are_cancelled_each_with_its_credit_and_its_key_back(world):
    ids = redeemed(world, "ann@example.org", "bob@example.org")

    page = bulk.cancel(world.session, actor=OPERATOR, filters=Filters(pool=world.pool))

    assert results(page) == dict.fromkeys(ids, "cancelled")
    credited = "SELECT count(*) AS n FROM charge WHERE kind = 'credit' AND pool_id = :pool"
    issued = "SELECT count(*) AS n FROM key WHERE state = 'issued' AND pool_id = :pool"
    assert world.figures(credited, pool=int(world.pool)).n == 2
    assert world.figures(issued, pool=int(world.pool)).n == 2


def test_late_cancellations_without_a_reason_are_refused_one_by_one(world):
    ids = redeemed(world, "ann@example.org", "bob@example.org")
    pass_time(world.session, days=2)

    refused = bulk.cancel(world.session, actor=OPERATOR, ids=ids)
    done = bulk.cancel(world.session, actor=OPERATOR, ids=ids, reason="a test")

    assert set(results(refused).values()) == {"invalid_input"}
    assert set(results(done).values()) == {"cancelled"}


def test_who_did_it_stands_in_the_history_of_each(world):
    ids = redeemed(world, "ann@example.org", "bob@example.org")
    manager = Actor("token 7 (Ann)", Role.MANAGER, world.parent)

    extend(world, *ids, actor=manager)

    for one in ids:
        [entry] = history.of(world.session, thing="assignment", thing_id=int(one))
        assert (entry["actor"], entry["action"]) == ("token 7 (Ann)", "assignment extended")


def test_a_strangers_assignments_are_as_good_as_none(world):
    ids = redeemed(world, "ann@example.org")
    stranger = Actor("token 8", Role.MANAGER, world.sibling)

    by_id = extend(world, *ids, actor=stranger)
    by_learner = extend(world, filters=Filters(learner="ann@example.org"), actor=stranger)

    assert results(by_id) == {ids[0]: "not_found"}
    assert by_learner.items == []
    with pytest.raises(errors.NotFoundError):
        extend(world, filters=Filters(pool=world.pool), actor=stranger)


@pytest.mark.parametrize(
    ("ids", "filters", "limit"),
    [
        ([], Filters(), 500),
        (["1"], Filters(learner="ann@example.org"), 500),
        ([str(n) for n in range(501)], Filters(), 500),
        ([], Filters(learner="ann@example.org"), 501),
    ],
)
def test_a_selection_says_one_thing_and_no_more_than_one_transaction_holds(
    world, ids, filters, limit
):
    with pytest.raises(errors.InvalidInputError):
        extend(world, *ids, filters=filters, limit=limit)


@pytest.mark.parametrize("role", [Role.ANALYST, Role.FINANCE, Role.SENDER])
def test_only_managers_change_many(world, role):
    ids = redeemed(world, "ann@example.org")

    with pytest.raises(errors.ForbiddenError):
        extend(world, *ids, actor=Actor("token 9", role, world.parent))
