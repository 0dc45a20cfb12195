"""All faults mixed, while messages of every kind flow: storms that last as long as one likes."""

import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from tests.faults import bulk, clocks, nemesis
from tests.faults.checker import AMID_POISON, check, told, wait_until_settled
from tests.faults.nemesis import Fault
from tests.faults.points import BUGGY, DEADLY
from tests.faults.senders import History, post_all, redemption
from tests.faults.system import System
from worker.client import Message, message
from worker.database.connections import session as transaction_of

ALL = (
    *nemesis.PROCESSES,
    *nemesis.SLEEPS,
    *nemesis.MESSAGES,
    *nemesis.BULK,
    *nemesis.REDIS,
    *nemesis.POSTGRES,
    *nemesis.LINES,
    *nemesis.POINTS,
)
WRONG_CLOCKS = (-240, 0, 240)  # of senders, in seconds
REMEMBERED = 20_000  # messages that may come again, whatever happened since

LAUNCHABLE = text("""
    SELECT id FROM assignment
     WHERE pool_id = :pool AND NOT EXISTS (SELECT FROM launch WHERE assignment_id = assignment.id)
     ORDER BY id DESC LIMIT :count
""")


@dataclass
class Storm:
    """A storm over a system: what happened, what was acknowledged, and what may come again."""

    system: System
    chance: random.Random
    keys: int  # in each round
    rate: float  # messages a second
    counts: Counter[str] = field(default_factory=Counter)
    history: History = field(default_factory=History)
    before: deque[Message] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    @property
    def faults(self) -> Sequence[Fault]:
        """What can go wrong on this machine."""
        return (
            *ALL,
            self.days_pass,
            *(nemesis.CLOCKS if clocks.LIBRARY else ()),
            *((nemesis.fill_disk,) if self.system.home.is_mount() else ()),
        )

    def rage(self, *, going_on: Callable[[], bool]) -> None:
        """Let faults happen round after round, and check after each, until it is not to go on."""
        while going_on():
            messages = self.messages()
            sending = post_all(
                self.system,
                messages,
                per_second=self.rate,
                skews=WRONG_CLOCKS,
                history=self.history,
                port=self.system.lines["web"].port,
            )
            # Whoever waits at a crash point needs traffic.
            while len(sending.waiting) > len(messages) // 4 and going_on():
                self.strike(self.chance.choice(self.faults))
            sending.join()
            self.before.extend(messages)
            self.check()

    def strike(self, fault: Fault) -> None:
        """Let one fault happen, and count it; one that missed is counted apart."""
        try:
            fault(self.system, self.chance)
        except nemesis.MissedError:
            self.counts["missed"] += 1
            return
        self.system.forgive()
        self.counts.update(["faults", fault.__name__])

    def check(self) -> None:
        """Wait until all is done, tell how it stands, and compare history and tables."""
        wait_until_settled(within=AMID_POISON)
        bulk.wait_until_done()
        told(f"missed {self.counts['missed']}", faults=self.counts["faults"], history=self.history)
        check(self.history, folder=self.system.folder)
        if self.system.post:
            self.system.post.check()

    def messages(self) -> list[Message]:
        """Make a round's messages: repeated, raced for, poisoned, launched, and out of order."""
        keys = self.system.add_keys(self.keys)
        once = [redemption(key, f"mixed-{key}@example.org") for key in keys]
        raced = [
            redemption(key, f"{racer}-{key}@example.org")
            for key in self.chance.sample(keys, self.keys // 10)
            for racer in range(4)
        ]
        poison = [
            redemption(key, f"{kind}{key}@example.org")
            for kind in (DEADLY, BUGGY)
            for key in self.system.add_keys(max(1, self.keys // 500))
        ]
        repeated = self.chance.sample(once, self.keys // 3)
        replayed = self.chance.sample(self.before, min(len(self.before), self.keys // 10))
        made = [*once, *raced, *poison, *self.launches(), *repeated, *replayed]
        self.chance.shuffle(made)
        return made

    def launches(self) -> list[Message]:
        """Launch assignments that nobody launched yet, and end that; the end may come first."""
        with transaction_of() as session:
            asked = {"pool": int(self.system.pool), "count": self.keys // 5}
            ids = session.scalars(LAUNCHABLE, asked).all()
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        begun = [
            {"assignment": str(id_), "launch": f"launch-{id_}", "launched_at": now} for id_ in ids
        ]
        ended = [{"launch": f"launch-{id_}", "ended_at": now, "completed": True} for id_ in ids]
        return [
            *(message("training.launched", data) for data in begun),
            *(message("training.ended", data) for data in ended),
        ]

    def days_pass(self, system: System, chance: random.Random) -> None:
        """Let the receiver's clock be days ahead, and messages come again that came before that."""
        some = self.chance.sample(self.before, min(len(self.before), 10))
        with system.days_later(f"{chance.randrange(2, 9)}d"):
            post_all(system, some, history=self.history).join()


def enough(storm: Storm, *, faults: int) -> Callable[[], bool]:
    """Go on until so many faults have happened."""
    return lambda: storm.counts["faults"] < faults


def until(moment: float) -> Callable[[], bool]:
    """Go on until a moment of time.monotonic."""
    return lambda: time.monotonic() < moment
