from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.world import OPERATOR, World
from worker.catalogue import courses
from worker.database.connections import clock_now
from worker.pools import pools
from worker.redemption import attempts, deciding


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def settle(world: World) -> None:
    """Settle until nothing more is decided, as the worker's loop does."""
    while deciding.settle(world.session, event_ids=unsettled(world)):
        pass


def unsettled(world: World) -> list[int]:
    return world.figures(
        "SELECT coalesce(array_agg(id ORDER BY received_at, id), '{}') AS ids FROM event"
        " WHERE status = 'recorded'"
    ).ids


def test_a_redeemed_key_makes_one_assignment_and_one_charge_at_the_price_of_the_moment(world):
    [code] = world.keys(1)
    event = world.request(code, "ann@example.org")

    settle(world)

    assert world.outcome(event) == "redeemed"
    made = world.figures(
        "SELECT expires_at - redeemed_at AS access, amount, currency, charge.organization_id AS payer"
        "  FROM assignment JOIN charge ON charge.assignment_id = assignment.id"
    )
    assert made.access == timedelta(days=30)
    assert (str(made.amount), made.currency, made.payer) == ("49.9000", "EUR", world.parent)


def test_a_key_may_be_typed_in_any_case_without_its_hyphens(world):
    [code] = world.keys(1)
    event = world.request(f" {code.lower().replace('-', ' ')} ", "ann@example.org")

    settle(world)

    assert world.outcome(event) == "redeemed"


def test_of_two_who_race_for_a_key_the_first_recorded_wins(world):
    [code] = world.keys(1)
    first, second = world.request(code, "ann@example.org"), world.request(code, "bob@example.org")

    settle(world)

    assert world.outcome(first) == "redeemed"
    assert world.outcome(second) == "already_redeemed"


def test_the_same_learner_with_the_same_key_again_gets_the_same_assignment(world):
    [code] = world.keys(1)
    first = world.request(code, "ann@example.org")
    again = world.request(code, "ANN@Example.org")

    settle(world)

    assert world.outcome(again) == "already_yours"
    ids = world.figures(
        "SELECT count(DISTINCT assignment_id) AS assignments, (SELECT count(*) FROM charge) AS charges"
        "  FROM event WHERE id IN (:first, :again)",
        first=first,
        again=again,
    )
    assert (ids.assignments, ids.charges) == (1, 1)


def test_a_second_key_for_the_same_course_is_not_spent(world):
    one, two = world.keys(2)
    world.request(one, "ann@example.org")
    event = world.request(two, "ann@example.org")

    settle(world)

    assert world.outcome(event) == "already_assigned"
    assert world.figures("SELECT state FROM key WHERE code = :code", code=two).state == "issued"


def test_a_racer_who_is_already_assigned_leaves_the_key_to_the_next(world):
    held, raced = world.keys(2)
    world.request(held, "ann@example.org")
    first, second = world.request(raced, "ann@example.org"), world.request(raced, "bob@example.org")

    settle(world)

    assert world.outcome(first) == "already_assigned"
    assert world.outcome(second) == "redeemed"


def test_an_assignment_that_is_over_makes_room_though_the_sweep_is_late(world):
    one, two = world.keys(2)
    world.request(one, "ann@example.org")
    settle(world)
    pass_time(world.session, days=31)

    event = world.request(two, "ann@example.org")
    settle(world)

    assert world.outcome(event) == "redeemed"


def test_a_key_received_before_its_pool_expired_is_granted_however_late_it_is_settled(session):
    world = worlds.build(session, expires="2026-11-30")
    [code] = world.keys(1)
    expires = pools.show(session, actor=OPERATOR, pool=world.pool)["expires_at"]
    in_time = world.request(code, "ann@example.org", at=expires - timedelta(seconds=1))
    pass_time(session, days=365)

    settle(world)

    assert world.outcome(in_time) == "redeemed"


def test_an_event_from_before_its_course_was_made_is_charged_at_the_first_price(world):
    [code] = world.keys(1)
    early = world.request(code, "ann@example.org", at=clock_now(world.session) - timedelta(days=1))

    settle(world)

    assert world.outcome(early) == "redeemed"
    assert str(world.figures("SELECT amount FROM charge").amount) == "49.9000"


@pytest.mark.parametrize(
    ("window", "outcome"),
    [
        ({"starts": "2080-01-01"}, "pool_not_started"),
        ({"expires": "2020-12-31"}, "pool_expired"),
    ],
)
def test_a_key_outside_its_pools_window_is_refused(session, window, outcome):
    world = worlds.build(session, **window)
    event = world.request(world.keys(1)[0], "ann@example.org")

    settle(world)

    assert world.outcome(event) == outcome


def test_a_paused_pool_refuses_what_was_received_before_the_pause(world):
    event = world.request(world.keys(1)[0], "ann@example.org")
    pools.pause(world.session, actor=OPERATOR, pool=world.pool)

    settle(world)

    assert world.outcome(event) == "pool_paused"


def test_an_archived_course_is_told_before_a_paused_pool(world):
    event = world.request(world.keys(1)[0], "ann@example.org")
    pools.pause(world.session, actor=OPERATOR, pool=world.pool)
    course = pools.show(world.session, actor=OPERATOR, pool=world.pool)["course"]
    courses.archive(world.session, actor=OPERATOR, course=course)

    settle(world)

    assert world.outcome(event) == "course_archived"


@pytest.mark.parametrize(
    ("shared", "outcome"), [(True, "redeemed"), (False, "not_available_to_organization")]
)
def test_a_childs_learner_may_redeem_only_where_the_pool_is_shared(session, shared, outcome):
    world = worlds.build(session, share_with_children=shared)
    event = world.request(world.keys(1)[0], "ann@example.org", organization=world.child)

    settle(world)

    assert world.outcome(event) == outcome


def test_a_strangers_learner_may_not_redeem_a_shared_pools_key(session):
    world = worlds.build(session, share_with_children=True)
    event = world.request(world.keys(1)[0], "ann@example.org", organization=world.sibling)

    settle(world)

    assert world.outcome(event) == "not_available_to_organization"


@pytest.mark.parametrize("code", ["NO-SUCH-KEY-1", "", "€€€", "K7QM"])
def test_an_unknown_code_is_refused_and_kept(world, code):
    event = world.request(code, "ann@example.org")

    settle(world)

    assert world.outcome(event) == "unknown_key"
    assert world.figures("SELECT count(*) AS n FROM redemption").n == 1


def test_a_retired_key_is_refused(world):
    [code] = world.keys(1)
    world.session.connection().exec_driver_sql("UPDATE key SET state = 'retired'")
    event = world.request(code, "ann@example.org")

    settle(world)

    assert world.outcome(event) == "key_retired"


def test_a_dry_run_says_what_would_happen_and_changes_nothing(world):
    [code] = world.keys(1)

    decision = deciding.decide_one(
        world.session, code=code, email="ann@example.org", organization_id=world.parent
    )

    assert decision.outcome == "redeemed"
    assert decision.access_expires_at == clock_now(world.session) + timedelta(days=30)
    assert world.figures("SELECT count(*) AS n FROM key WHERE state <> 'issued'").n == 0


def test_a_strangers_learner_is_masked_to_the_pools_owner(session):
    world = worlds.build(session)
    [code] = world.keys(1)
    world.request(code, "stranger@example.org", organization=world.sibling)
    world.request(code, "ann@example.org")
    settle(world)

    newest, oldest = attempts.listing(
        session, actor=OPERATOR, filters=attempts.Filters(pool=world.pool)
    ).items

    assert (newest["learner"], newest["key"]) == ("ann@example.org", code)
    assert (oldest["learner"], oldest["organization"]) == ("s***@e***", None)
