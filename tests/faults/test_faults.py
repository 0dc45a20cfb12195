"""The storms of docs/operations.md, each ending with the audit.

In short form they run with the tests. `make faults` sets FAULTS=full for the counts that count.
The seed is printed; set FAULTS_SEED to run the same storm again.
"""

import os
import random
from collections.abc import Iterator

import pytest

from tests.faults import harness
from tests.faults.harness import System, check, post_all, redemption, storm

FULL = os.environ.get("FAULTS") == "full"
SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))


def size(short: int, full: int) -> int:
    return full if FULL else short


@pytest.fixture
def chance() -> random.Random:
    print(f"FAULTS_SEED={SEED}")  # noqa: T201  # shown when the storm's test fails
    return random.Random(SEED)  # noqa: S311  # a storm is to be repeated, not to be secret


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with harness.running_system(tmp_path_factory.mktemp("fire") / "home") as running:
        yield running


def weathered(
    system: System,
    chance: random.Random,
    fault: harness.Fault,
    *,
    keys: int,
    times: int,
    rate: float,
) -> harness.History:
    """Redeem keys while a fault happens again and again; then compare history and tables."""
    messages = [
        redemption(key, f"{fault.__name__}-{n}@example.org")
        for n, key in enumerate(system.add_keys(keys))
    ]
    history, sending = post_all(system, messages, per_second=rate)

    storm(system, fault, times=times, pause=0.6, chance=chance)
    sending.join()

    check(history)
    assert len(history.acknowledged) == len(messages)
    return history


def test_settling_loses_and_doubles_nothing_while_workers_are_killed(system, chance):
    weathered(
        system,
        chance,
        harness.kill_worker,
        keys=size(300, 20_000),
        times=size(4, 200),
        rate=size(60, 150),
    )


def test_the_receiver_answers_202_throughout_while_redis_is_killed_and_comes_back_empty(
    system, chance
):
    history = weathered(
        system,
        chance,
        harness.empty_redis,
        keys=size(200, 20_000),
        times=size(2, 20),
        rate=size(60, 400),
    )

    assert history.refusals == []


def test_what_was_acknowledged_is_there_after_postgresql_was_killed(system, chance):
    history = weathered(
        system,
        chance,
        harness.kill_postgres,
        keys=size(200, 20_000),
        times=size(2, 10),
        rate=size(60, 400),
    )

    assert set(history.refusals) <= {503}


def test_what_was_acknowledged_is_there_after_the_web_was_killed(system, chance):
    weathered(
        system,
        chance,
        harness.kill_web,
        keys=size(200, 20_000),
        times=size(3, 20),
        rate=size(60, 400),
    )


def test_every_message_sent_three_times_in_any_order_is_settled_once(system, chance):
    keys = system.add_keys(size(200, 20_000))
    messages = [redemption(key, f"d{n}@example.org") for n, key in enumerate(keys)] * 3
    chance.shuffle(messages)

    history, sending = post_all(system, messages, senders=16)
    sending.join()

    assert history.refusals == []
    assert len(history.acknowledged) == len(keys)
    check(history)


def test_of_64_racing_senders_exactly_one_wins_each_key_and_it_was_first(system, chance):
    keys = system.add_keys(size(20, 500))
    racers = 64
    messages = [
        redemption(key, f"race{racer}-{n}@example.org")
        for n, key in enumerate(keys)
        for racer in range(racers)
    ]
    before = check(harness.History())

    history, sending = post_all(system, messages, senders=64)
    sending.join()

    after = check(history)
    assert after["redeemed"] - before.get("redeemed", 0) == len(keys)
    assert after["already_redeemed"] - before.get("already_redeemed", 0) == len(keys) * (racers - 1)
