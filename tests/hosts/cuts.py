"""The cuts: what is cut, for how long, and what must hold meanwhile and afterwards."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.faults import checker
from tests.hosts.lab import Lab
from tests.hosts.traffic import Traffic
from tests.hosts.watching import Most, Watch
from tests.waiting import eventually

RECOVERS_WITHIN = 10.0  # seconds after the healing
SETTLES_WITHIN = 10.0  # seconds during a cut, where a worker still reaches the database
GIVEN_UP = 120.0  # seconds after the healing
STEADY = 5.0  # seconds of calm before each cut
Fault = Callable[[Lab], AbstractContextManager[None]]


@dataclass(frozen=True)
class Cut:
    """A fault of the network, for so many seconds."""

    name: str
    fault: Fault
    seconds: float
    settles: bool = True  # whether a worker still reaches the database, and hears of work


@dataclass(frozen=True)
class Result:
    """What a cut did."""

    name: str
    seconds: float
    waiting: int  # events at most
    oldest: float  # seconds from its first post
    recorded: float  # seconds that an acknowledged event waited at most
    recovery: float  # seconds from the healing until everything posted before it was decided
    lost: int
    doubled: int
    stuck: int
    wrong: str  # what did not hold; empty if all did


def lines(*pairs: str, back: bool = True) -> Fault:
    """Cut lines such as `web-1 > postgres`; both directions, or only that one."""

    @contextmanager
    def fault(lab: Lab) -> Iterator[None]:
        for pair in pairs:
            source, target = pair.split(" > ")
            lab.network.cut(source, target)
            if back:
                lab.network.cut(target, source)
        yield
        assert lab.network.swallowed(), f"nothing went between {' and '.join(pairs)}"
        lab.network.heal()

    return fault


def try_out(lab: Lab, cut: Cut, traffic: Traffic, watch: Watch) -> Result:
    """Cut, heal, and wait until everything that was posted before the healing is decided."""
    time.sleep(STEADY)
    watch.most = Most()
    with cut.fault(lab):
        time.sleep(cut.seconds)
        most = watch.most
    healed = time.monotonic()
    eventually(lambda: not watch.waiting(since=healed), seconds=GIVEN_UP)
    recovery = time.monotonic() - healed
    figures = checker.tally(traffic.history)
    counted = {name: figures[name] for name in ("lost", "doubled")}
    stuck = len(watch.waiting(since=healed))
    wrong = _wrong(cut, most, recovery, lab.dead(), stuck=stuck, **counted)
    return Result(
        cut.name,
        cut.seconds,
        watch.most.waiting,
        round(watch.most.oldest, 1),
        round(watch.most.recorded, 1),
        round(recovery, 1),
        stuck=stuck,
        wrong=wrong,
        **counted,
    )


def _wrong(cut: Cut, most: Most, recovery: float, dead: list[str], **counted: int) -> str:
    found = [f"{count} {name}" for name, count in counted.items() if count]
    if dead:
        found.append(f"{', '.join(dead)} ended")
    if recovery > RECOVERS_WITHIN:
        found.append("slow to recover")
    if cut.settles and most.recorded > SETTLES_WITHIN:
        found.append("settling stood still")
    return ", ".join(found)


SHORT = 15  # seconds of a cut in the short form
SHORTLY = ("web-1 – PostgreSQL", "worker-1 – PostgreSQL", "worker-1 – Redis")
CUTS = [
    Cut("web-1 – PostgreSQL", lines("web-1 > postgres"), 20),
    Cut("worker-1 – PostgreSQL", lines("worker-1 > postgres"), 20),
    Cut("worker-1 – Redis", lines("worker-1 > redis"), 20),
]
