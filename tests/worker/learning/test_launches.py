from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import pass_time
from tests.waiting import eventually, somebody_waits_for_a_lock
from tests.world import OPERATOR, World
from worker import errors
from worker.database import connections as databases
from worker.learning import assignments, cancelling, launches
from worker.redemption import deciding

LAUNCHED, ENDED = "2026-05-01T10:00:00Z", "2026-05-01T11:30:00Z"


@pytest.fixture
def world(session: Session) -> World:
    return worlds.build(session)


def assignment(world: World, email: str = "ann@example.org") -> int:
    event = world.request(world.keys(1)[0], email)
    deciding.settle(world.session, event_ids=[event])
    return world.figures("SELECT assignment_id AS id FROM event WHERE id = :id", id=event).id


def launched(world: World, assignment: int, launch: str = "L-1") -> int:
    data = {"assignment": str(assignment), "launch": launch, "launched_at": LAUNCHED}
    return world.event("training.launched", data)


def ended(world: World, launch: str = "L-1", at: str = ENDED) -> int:
    data = {"launch": launch, "ended_at": at, "completed": True, "score": 87.5}
    return world.event("training.ended", data)


def settle(world: World) -> None:
    for _ in range(3):
        ids = world.figures(
            "SELECT coalesce(array_agg(id), '{}') AS ids FROM event"
            " WHERE status = 'recorded' AND waits_for IS NULL"
        ).ids
        launches.settle(world.session, event_ids=ids)


def test_a_launch_and_its_end_are_recorded_with_completion_and_score(world):
    start, end = launched(world, assignment(world)), ended(world)

    settle(world)

    assert (world.outcome(start), world.outcome(end)) == ("launched", "ended")
    launch = world.figures("SELECT ended_at - launched_at AS spent, completed, score FROM launch")
    assert (launch.spent.total_seconds(), launch.completed, launch.score) == (5400, True, 87.5)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_end_is_joined_to_its_launch_in_whatever_order_they_come(world, order):
    access = assignment(world)
    senders = [lambda: launched(world, access), lambda: ended(world)]
    events = []
    for position in order:
        events.append(senders[position]())
        settle(world)

    assert {world.outcome(event) for event in events} == {"launched", "ended"}


def test_an_end_without_its_launch_waits(world):
    end = ended(world)

    settle(world)

    assert world.outcome(end) is None


def test_a_launch_told_twice_is_recorded_once(world):
    access = assignment(world)
    events = [launched(world, access), launched(world, access)]

    settle(world)

    assert [world.outcome(event) for event in events] == ["launched", "launched"]
    assert world.figures("SELECT count(*) AS n FROM launch").n == 1


def test_several_launches_may_be_open_at_once(world):
    access = assignment(world)
    for number in range(3):
        launched(world, access, f"L-{number}")

    settle(world)

    assert world.figures("SELECT count(*) AS n FROM launch WHERE ended_at IS NULL").n == 3


def test_a_launch_received_in_time_is_let_in_though_it_is_settled_late(world):
    start = launched(world, assignment(world))
    pass_time(world.session, days=31)

    settle(world)

    assert world.outcome(start) == "launched"


def test_a_launch_after_access_ended_is_refused_and_so_is_its_end(world):
    access = assignment(world)
    pass_time(world.session, days=30)
    start, end = launched(world, access), ended(world)

    settle(world)

    assert (world.outcome(start), world.outcome(end)) == ("assignment_expired",) * 2


def test_a_launch_of_a_cancelled_assignment_is_refused(world):
    access = assignment(world)
    world.session.connection().exec_driver_sql(
        "UPDATE assignment SET status = 'cancelled', cancelled_at = clock_now()"
    )
    start = launched(world, access)

    settle(world)

    assert world.outcome(start) == "assignment_cancelled"


@pytest.mark.parametrize("stranger", ["999999999", "0"])
def test_a_launch_of_an_unknown_assignment_is_refused(world, stranger):
    start = launched(world, stranger)

    settle(world)

    assert world.outcome(start) == "unknown_assignment"


def test_the_end_of_a_launch_of_an_unknown_assignment_is_refused_alike_before_and_after_it(world):
    before, start = ended(world), launched(world, "999999999")
    settle(world)
    after = ended(world)

    settle(world)

    assert [world.outcome(told) for told in (before, start, after)] == ["unknown_assignment"] * 3


def test_another_organizations_assignment_is_as_good_as_unknown(session):
    other = worlds.build(session)
    access = assignment(other)
    world = worlds.build(session)
    start = launched(world, access)

    settle(world)

    assert world.outcome(start) == "unknown_assignment"


def test_an_end_before_the_beginning_is_refused_and_leaves_the_launch_open(world):
    launched(world, assignment(world))
    wrong, right = ended(world, at="2026-05-01T09:59:59Z"), ended(world)

    settle(world)

    assert (world.outcome(wrong), world.outcome(right)) == ("ended_before_launched", "ended")


def begin(world: World, assignment: int, launch: str = "L-1"):
    return launches.begin(world.session, actor=OPERATOR, assignment=str(assignment), launch=launch)


def test_a_launch_over_the_api_is_refused_and_recorded_once_access_ended(world):
    held = assignment(world)
    pass_time(world.session, days=31)

    refused = begin(world, held)

    assert refused["outcome"] == "assignment_expired"
    with pytest.raises(errors.LaunchRefusedError):
        launches.end(
            world.session,
            actor=OPERATOR,
            launch=refused["id"],
            ended_at=world.figures("SELECT clock_now() AS now").now,
        )
    shown = assignments.show(world.session, actor=OPERATOR, assignment=str(held))
    assert ([one["id"] for one in shown["launched"]], shown["launches"]) == ([refused["id"]], 0)


def test_one_organizations_launches_over_the_api_do_not_meet_anothers(world, session):
    elsewhere = worlds.build(session)

    here = begin(world, assignment(world))
    there = begin(elsewhere, assignment(elsewhere))

    assert here["id"] != there["id"]
    assert (here["outcome"], there["outcome"]) == ("launched", "launched")


def test_a_launchs_id_over_the_api_is_of_one_assignment(world):
    begin(world, assignment(world))

    with pytest.raises(errors.LaunchIdReusedError):
        begin(world, assignment(world, "bob@example.org"))


def begun_by_a_source(world: World, assignment: int) -> str | None:
    launch = launched(world, assignment)
    settle(world)
    return world.outcome(launch)


def begun_over_the_api(world: World, assignment: int) -> str:
    return begin(world, assignment)["outcome"]


@pytest.mark.parametrize("begun", [begun_by_a_source, begun_over_the_api])
def test_a_launch_waits_for_whoever_cancels_at_that_moment_and_is_refused(
    fresh_database, begun: Callable[[World, int], str | None]
):
    with databases.session() as session:
        world = worlds.build(session)
        held = assignment(world)

    def launch() -> str | None:
        with databases.session() as another:
            return begun(replace(world, session=another), held)

    with ThreadPoolExecutor(1) as beside:
        with databases.session() as session:
            cancelling.cancel(session, actor=OPERATOR, assignment=str(held))
            outcome = beside.submit(launch)
            assert eventually(somebody_waits_for_a_lock)
        assert outcome.result() == "assignment_cancelled"
