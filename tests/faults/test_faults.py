"""The storms of docs/operations.md, each ending with the audit.

In short form they run with the tests. `make faults` sets FAULTS=full for the counts that count.
The seed is printed; set FAULTS_SEED to run the same storm again.
"""

import os
from collections.abc import Iterator

import pytest

from tests.faults import nemesis
from tests.faults.checker import check, told
from tests.faults.nemesis import storm
from tests.faults.points import BUGGY, DEADLY
from tests.faults.senders import History, post_all, redemption
from tests.faults.system import System, running_system

FULL = os.environ.get("FAULTS") == "full"
HOUR = 3600


def size(short: int, full: int) -> int:
    return full if FULL else short


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("fire") / "home") as running:
        yield running


def requests(system: System, count: int, who: str) -> list:
    return [
        redemption(key, f"{who}{n}@example.org") for n, key in enumerate(system.add_keys(count))
    ]


def weathered(system, chance, *faults, keys, times, rate, pause=0.6, port=None) -> History:
    """Redeem keys while faults happen again and again; then compare history and tables."""
    messages = requests(system, keys, faults[0].__name__)
    sending = post_all(system, messages, per_second=rate, port=port)

    for fault in faults:
        storm(system, fault, times=times, pause=pause, chance=chance)
    going_on = not sending.done
    history = sending.join()

    check(history, folder=system.folder)
    names = ", ".join(fault.__name__ for fault in faults)
    told(names, faults=times * len(faults), history=history)
    assert len(history.acknowledged) == len(messages)
    assert going_on or FULL is False, "the senders were done before the last fault"
    return history


def test_settling_loses_and_doubles_nothing_while_workers_are_killed(system, chance):
    # Paced so that redemptions flow from the first kill to the last.
    weathered(
        system,
        chance,
        nemesis.kill_worker,
        keys=size(150, 20_000),
        times=size(6, 200),
        rate=size(30, 40),
    )


def test_the_receiver_answers_202_throughout_while_redis_is_killed_and_comes_back_empty(
    system, chance
):
    history = weathered(
        system,
        chance,
        nemesis.empty_redis,
        keys=size(150, 20_000),
        times=size(5, 20),
        rate=size(40, 250),
    )

    assert history.refusals == set()


def test_what_was_acknowledged_is_there_after_postgresql_was_killed(system, chance):
    history = weathered(
        system,
        chance,
        nemesis.kill_postgres,
        keys=size(150, 20_000),
        times=size(3, 10),
        rate=size(40, 250),
        pause=size(1, 4),
    )

    assert history.refusals <= {503}


def test_what_was_acknowledged_is_there_after_the_web_was_killed(system, chance):
    weathered(
        system,
        chance,
        nemesis.kill_web,
        keys=size(150, 20_000),
        times=size(5, 20),
        rate=size(40, 250),
    )


def test_every_message_sent_three_times_in_any_order_is_settled_once(system, chance):
    messages = requests(system, size(150, 20_000), "thrice") * 3
    chance.shuffle(messages)

    history = post_all(system, messages, senders=16).join()

    assert history.refusals == set()
    assert history.deliveries == len(messages)
    assert len(history.acknowledged) == len(messages) / 3
    check(history, folder=system.folder)
    told("every message three times", faults=0, history=history)


def test_of_64_racing_senders_exactly_one_wins_each_key_and_it_was_first(system, chance):
    keys = system.add_keys(size(10, 500))
    racers = 64
    messages = [
        redemption(key, f"race{racer}-{n}@example.org")
        for n, key in enumerate(keys)
        for racer in range(racers)
    ]
    before = check(History())

    history = post_all(system, messages, senders=64).join()

    after = check(history, folder=system.folder)
    told("64 senders race", faults=0, history=history)
    assert after["redeemed"] - before.get("redeemed", 0) == len(keys)
    assert after["already_redeemed"] - before.get("already_redeemed", 0) == len(keys) * (racers - 1)


def test_poison_is_set_apart_and_all_others_are_settled(system, chance):
    count = size(100, 20_000)
    every = size(50, 100)
    poison = requests(system, count // every, BUGGY)
    poison[: len(poison) // 2] = requests(system, len(poison) // 2, DEADLY)
    messages = requests(system, count - len(poison), "neighbour") + poison
    chance.shuffle(messages)
    before = check(History())

    history = post_all(system, messages, per_second=size(100, 400)).join()

    after = check(history, folder=system.folder, within=size(120, HOUR))
    told("poison", faults=len(poison), history=history)
    assert after["failed"] - before.get("failed", 0) == len(poison)
    assert after["redeemed"] - before.get("redeemed", 0) == count - len(poison)
    assert (system.folder / "deaths").exists(), "no settler died"


@pytest.mark.parametrize("fault", nemesis.POINTS, ids=lambda fault: fault.__name__)
def test_a_process_gone_at_a_boundary_loses_and_doubles_nothing(system, chance, fault):
    weathered(system, chance, fault, keys=size(60, 1_000), times=size(1, 10), rate=size(30, 40))


def test_redis_and_postgresql_stopped_frozen_cut_short_and_half_killed(system, chance):
    history = weathered(
        system,
        chance,
        nemesis.cut_redis_file_short,
        nemesis.freeze_redis,
        nemesis.stop_postgres_at_once,
        nemesis.kill_backend,
        nemesis.freeze_postgres,
        keys=size(300, 10_000),
        times=size(1, 10),
        rate=size(20, 100),
    )

    assert history.refusals <= {503}
