"""The storms of docs/faults.md, each ending with the audit.

In short form they run with the tests. `make faults` sets FAULTS=full for the counts that count.
The seed is printed; set FAULTS_SEED to run the same storm again.
"""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults import mails, nemesis
from tests.faults.checker import check, told
from tests.faults.conftest import SEED
from tests.faults.points import BUGGY, DEADLY
from tests.faults.senders import History, post_all, redemption
from tests.faults.storms import HOUR, each, name_of, requests, size, weathered
from tests.faults.system import System, running_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    home = tmp_path_factory.mktemp("fire") / "home"
    sweep = {} if size(0, 1) else {"KEYPOOL_SETTLE_SWEEP": "1s"}
    chance = random.Random(SEED)  # noqa: S311  # a storm is to be repeated, not to be secret
    with (
        mails.post(chance) as post,
        running_system(home, pace=size(0.1, 1), post=post, **sweep) as running,
    ):
        yield running


def test_settling_loses_and_doubles_nothing_while_workers_are_killed(system, chance):
    weathered(
        system,
        chance,
        nemesis.kill_worker,
        keys=size(100, 20_000),
        times=size(8, 200),
        rate=size(20, 40),
    )


def test_the_receiver_answers_202_throughout_while_redis_is_killed_and_comes_back_empty(
    system, chance
):
    history = weathered(
        system,
        chance,
        nemesis.empty_redis,
        keys=size(100, 20_000),
        times=size(4, 20),
        rate=size(20, 250),
    )

    assert history.refusals == set()


def test_what_was_acknowledged_is_there_after_postgresql_was_killed(system, chance):
    weathered(
        system,
        chance,
        nemesis.kill_postgres,
        keys=size(100, 20_000),
        times=size(3, 10),
        rate=size(20, 250),
        pause=4,
    )


def test_what_was_acknowledged_is_there_after_the_web_was_killed(system, chance):
    weathered(
        system,
        chance,
        nemesis.kill_web,
        keys=size(100, 5_000),
        times=size(4, 20),
        rate=size(20, 100),
        people=size(3, 50),
    )


def test_every_message_sent_three_times_in_any_order_is_settled_once(system, chance):
    messages = requests(system, size(100, 20_000), "thrice-") * 3
    chance.shuffle(messages)

    history = post_all(system, messages, senders=16).join()

    assert history.refusals == set()
    assert history.deliveries == len(messages)
    assert len(history.acknowledged) == len(messages) / 3
    check(history, folder=system.folder)
    told("every message three times", faults=0, history=history)


def test_of_64_racing_senders_exactly_one_wins_each_key_and_it_was_first(system, chance):
    keys = system.add_keys(size(5, 500))
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
    count = size(60, 20_000)
    every = size(30, 100)
    poison = requests(system, count // every, BUGGY)
    poison[: len(poison) // 2] = requests(system, len(poison) // 2, DEADLY)
    messages = requests(system, count - len(poison), "neighbour-") + poison
    chance.shuffle(messages)
    before = check(History())

    history = post_all(system, messages, per_second=size(100, 400)).join()

    after = check(history, folder=system.folder, within=size(120, HOUR))
    told("poison", faults=len(poison), history=history)
    assert after["failed"] - before.get("failed", 0) == len(poison)
    assert after["redeemed"] - before.get("redeemed", 0) == count - len(poison)
    assert (system.folder / "deaths").exists(), "no settler died"


@pytest.mark.parametrize("faults", each(nemesis.POINTS), ids=name_of)
def test_a_process_gone_at_a_boundary_loses_and_doubles_nothing(system, chance, faults):
    weathered(system, chance, *faults, keys=size(100, 1_000), times=size(1, 10), rate=size(30, 40))


SERVERS = (
    nemesis.cut_redis_file_short,
    nemesis.freeze_redis,
    nemesis.stop_postgres_at_once,
    nemesis.kill_backend,
    nemesis.freeze_postgres,
)


@pytest.mark.parametrize("faults", each(SERVERS), ids=name_of)
def test_servers_cut_short_stopped_half_killed_and_frozen_lose_and_double_nothing(
    system, chance, faults
):
    weathered(system, chance, *faults, keys=size(100, 2_000), times=size(1, 10), rate=size(20, 100))


def test_json_200_000_deep_is_refused_by_the_web_and_survived_by_the_worker(system, chance):
    without_mails = replace(system, post=None)  # for which a worker on its way out would wait
    weathered(
        without_mails, chance, *nemesis.MESSAGES, keys=size(50, 2_000), times=size(2, 10), rate=20
    )
