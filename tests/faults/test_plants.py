"""The harness is tested too: a bug is planted in the running product, and its storm must catch it.

At full length each storm runs twice: on keypool as it is, where it must find nothing, and with the
bug. In short form only with the bug.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.faults import nemesis, plants
from tests.faults.checker import SETTLED_WITHIN, check, wait_until_settled
from tests.faults.points import BUGGY, DEADLY
from tests.faults.senders import History, post_all, redemption
from tests.faults.storms import FULL, size
from tests.faults.system import System, hint, patiently, running_system
from worker.database.connections import session as transaction_of

NO_SWEEP = {"KEYPOOL_SETTLE_SWEEP": "1h"}
PLAIN = {"FAULTS_PLANT": "", "FAULTS_SLOW": "", "FAULTS_SKEW": "0", "KEYPOOL_SETTLE_SWEEP": "1s"}

LUCK = 3  # storms in which a bug must show: on a busy machine a hint may come twice, and mend it

# Seconds for which the check waits: the storm without the bug is over much sooner.
STUCK_AFTER = size(8, 20)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("plants") / "home", **PLAIN) as system:
        yield system


@pytest.fixture
def system(running: System) -> System:
    """The system with nothing in its tables that an earlier storm left."""
    with transaction_of() as session:
        session.execute(text("TRUNCATE settlement, event, key, pool_tally, pool_charged CASCADE"))
    return running


def begin(system: System, *services: str, **variables: str) -> None:
    """Begin a storm with no hint and no point left of the last; these services have these variables."""

    def forget() -> None:
        system.empty_redis()
        for file in filter(Path.is_file, system.folder.iterdir()):
            file.unlink()

    changed = {*system.altered, *services}
    system.restart(*changed, meanwhile=forget, **{**PLAIN, **variables})
    system.altered = services
    patiently(lambda: nemesis.with_children(system.process("worker")))


def sent(system: System, count: int, *, each: int = 1, who: str = "") -> History:
    """Post so many requests, each as often as said, and wait until all are acknowledged."""
    keys = system.add_keys(count)
    messages = [redemption(key, f"{who}{n}@example.org") for n, key in enumerate(keys)]
    return post_all(system, [m for m in messages for _ in range(each)]).join()


# Storms ------------------------------------------------------------------------------------------


def hints_are_lost(system, chance):
    nemesis.empty_redis(system, chance)
    with nemesis.frozen_redis(system):
        history = sent(system, 10)
        time.sleep(1)  # until the web has given up its last hint
    return history


def commits_are_slow(system, chance):
    return sent(system, 1)


def a_settler_dies_with_its_hint(system, chance):
    point = nemesis.armed(system, "before-commit-settle")
    history = sent(system, 1)
    nemesis.wait_for(point)
    return history


def the_web_dies_before_its_commit(system, chance):
    point = nemesis.armed(system, "before-commit-record")
    history = sent(system, 1)
    nemesis.wait_for(point)
    return history


def everything_comes_three_times(system, chance):
    return sent(system, 20, each=3)


def poison_comes(system, chance):
    sent(system, 1, who=DEADLY)
    return sent(system, 6)


def messages_come_again_after_minutes_and_days(system, chance):
    keys = system.add_keys(5)
    messages = [redemption(key, f"again{n}@example.org") for n, key in enumerate(keys)]
    history = post_all(system, messages).join()
    wait_until_settled()
    for later in ("10m", "3d"):
        with system.days_later(later):
            post_all(system, messages, history=history).join()
    return history


def clocks_are_wrong(system, chance):
    return sent(system, 5)


def settlers_crowd(system, chance):
    for _ in range(3):
        history = sent(system, 5)
        for _ in range(4):
            hint("settle")
        wait_until_settled()
    return history


STORMS = [
    ("sweep_off", ("beat",), hints_are_lost, {}, "events are stuck"),
    (
        "hint_before_commit",
        ("web", "beat"),
        commits_are_slow,
        {**NO_SWEEP, "FAULTS_SLOW": "record:0.3"},
        "events are stuck",
    ),
    ("constraint_dropped", (), everything_comes_three_times, {}, "acknowledged as two events"),
    (
        "early_acknowledgement",
        ("worker", "beat"),
        a_settler_dies_with_its_hint,
        NO_SWEEP,
        "events are stuck",
    ),
    ("early_answer", ("web",), the_web_dies_before_its_commit, {}, "events are lost"),
    ("attempts_counted_after_the_work", ("worker",), poison_comes, {}, "events are stuck"),
    (
        "deduplication_forgotten_after_5_minutes",
        (),
        messages_come_again_after_minutes_and_days,
        {},
        "acknowledged as two events",
    ),
    (
        "workers_clock",
        ("worker",),
        clocks_are_wrong,
        {"FAULTS_SKEW": "7200"},
        "judged by another clock",
    ),
    (
        "lock_let_go",
        ("worker",),
        settlers_crowd,
        {"FAULTS_SLOW": "claim:0.1,settle:0.5"},
        "two settlers decided a tree at once",
    ),
]


@pytest.mark.parametrize(
    ("bug", "services", "storm", "weather", "found"), STORMS, ids=[s[0] for s in STORMS]
)
def test_a_storm_finds_nothing_wrong_but_for_the_bug_that_is_planted(
    system, chance, bug, services, storm, weather, found
):
    if FULL:
        begin(system, *services, **weather)
        check(storm(system, chance), folder=system.folder)

    said = []
    for _ in range(LUCK):
        begin(system, *services, **weather, FAULTS_PLANT=bug)
        within = STUCK_AFTER if "stuck" in found else SETTLED_WITHIN
        with plants.in_database(bug):
            try:
                check(storm(system, chance), folder=system.folder, within=within)
            except AssertionError as caught:
                said.append(str(caught))
                break
    assert said, f"{LUCK} storms did not find the bug"
    assert found in said[0]


def test_a_message_that_our_bug_fails_on_is_set_apart_and_no_neighbour_with_it(system):
    begin(system)

    sent(system, 2, who=BUGGY)
    history = sent(system, 20)

    assert check(history, folder=system.folder) == {"failed": 2, "redeemed": 20}
