"""Storms, the chaos tests: how long they are, and how each begins and ends."""

import os
import random
import time

from tests.faults import visitors
from tests.faults.checker import check, decided, told
from tests.faults.nemesis import Fault
from tests.faults.senders import History, post_all, redemption
from tests.faults.system import System, patiently, surely
from worker.client import Message

FULL = os.environ.get("FAULTS") == "full"
HOUR = 3600
ENOUGH_FOR = 40  # seconds for which there must be messages before each fault


def size(short: int, full: int) -> int:
    """Give the size of the short form, which runs with the tests, or of the full one."""
    return full if FULL else short


def each(faults: tuple[Fault, ...]) -> list[tuple[Fault, ...]]:
    """At full length each fault is a storm of its own; in short form they are one."""
    return [(fault,) for fault in faults] if FULL else [faults]


def name_of(faults: tuple[Fault, ...]) -> str:
    """Name a storm by its first fault."""
    return faults[0].__name__


def requests(system: System, count: int, who: str) -> list[Message]:
    """Make so many redemption requests, each for a key and by a learner of its own."""
    return [redemption(key, f"{who}{key}@example.org") for key in system.add_keys(count)]


def weathered(
    system: System,
    chance: random.Random,
    *faults: Fault,
    keys: int,
    times: int,
    rate: float,
    pause: float = 0.6,
    port: int | None = None,
    people: int = 0,
) -> History:
    """Redeem at least so many keys while faults happen again and again; compare history and tables.

    So many `people` redeem a key at the redeem page meanwhile.

    Redemptions flow from the first fault to the last, however long those take: at full length,
    some were decided after each fault before the next one comes.
    """
    who = f"{name_of(faults)}-"
    crowd = visitors.come(system, system.post, people) if people and system.post else None
    sending = post_all(system, requests(system, keys, who), per_second=rate, port=port)

    def supply() -> None:
        lacking = int(rate * ENOUGH_FOR) - len(sending.waiting)
        if lacking > 0:
            sending.add(surely(lambda: requests(system, lacking, who)))

    for fault in faults:
        for _ in range(times):
            supply()
            fault(system, chance)
            system.forgive()
            time.sleep(chance.uniform(0.5, 1.5) * pause * system.pace)
            if FULL:
                before = decided()
                patiently(lambda before=before: decided() > before, 120)
    assert not sending.done, "the senders were done before the last fault"
    history = sending.hurry() if FULL else sending.stop()

    if crowd and system.post:
        crowd.join(system.post)
    check(history, folder=system.folder)
    if system.post:
        system.post.check()
    told(", ".join(f.__name__ for f in faults), faults=times * len(faults), history=history)
    assert len(history.acknowledged) == sending.count
    assert history.refusals <= {503}, history.refusals
    return history
