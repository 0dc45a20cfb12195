"""All faults mixed, while messages of every kind flow: storms that last as long as one likes."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from sqlalchemy import text

from tests.faults import bulk, nemesis
from tests.faults.checker import AMID_POISON, check, told, wait_until_settled
from tests.faults.fronts import Front, fronts
from tests.faults.nemesis import Fault
from tests.faults.points import BUGGY, DEADLY
from tests.faults.senders import History, Sending, post_all, redemption
from tests.faults.system import System, surely
from worker.client import Message, message
from worker.database.connections import session as transaction_of

WRONG_CLOCKS = (-240, 0, 240)  # of senders, in seconds
REMEMBERED = 20_000  # messages that may come again, whatever happened since
SENDERS = 24
TICK = 0.2  # seconds
POISONED = 2_000  # of so many keys, one is asked for by a deadly message and one by a buggy one
SPARE = 200  # keys whose messages flow until the last fault of a round took effect

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
    lock: threading.Lock = field(default_factory=threading.Lock)
    before: deque[Message] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    @property
    def fronts(self) -> Sequence[Front]:
        """Where things go wrong on this machine."""
        return fronts(can_fill=self.system.home.is_mount(), on_web=(self.days_pass,))

    def rage(self, *, going_on: Callable[[], bool]) -> None:
        """Let faults happen round after round, and check after each, until it is not to go on."""
        while going_on():
            self.round(going_on)
            self.check()

    def round(self, going_on: Callable[[], bool]) -> None:
        """Let faults happen at all fronts at once while messages flow, until most are sent."""
        messages = surely(self.messages)
        sending = self.post(messages)
        over, fronts = threading.Event(), self.fronts
        with ThreadPoolExecutor(len(fronts)) as pool:
            chances = [random.Random(self.chance.random()) for _ in fronts]  # noqa: S311  # repeatable
            fights = [
                pool.submit(self.fight, front, chance, over)
                for front, chance in zip(fronts, chances, strict=True)
            ]
            try:
                while going_on() and len(sending.waiting) > SPARE:
                    if wait(fights, timeout=TICK, return_when=FIRST_COMPLETED).done:
                        break  # it failed
            finally:
                over.set()
            while wait(fights, timeout=TICK).not_done:
                self.keep_flowing(sending)
        for fight in fights:
            fight.result()
        sending.hurry()  # all of them: an end whose launch was never posted would wait for it
        self.before.extend(messages)

    def post(self, messages: Sequence[Message]) -> Sending:
        """Begin to post messages by way of the web's line."""
        return post_all(
            self.system,
            messages,
            senders=SENDERS,
            per_second=self.rate,
            skews=WRONG_CLOCKS,
            history=self.history,
            port=self.system.lines["web"].port,
        )

    def keep_flowing(self, sending: Sending) -> None:
        """Have more to send while faults wait for it: a line breaks, or a point is reached, in use."""
        if len(sending.waiting) < SPARE:
            keys = surely(lambda: self.system.add_keys(SPARE))
            sending.add([redemption(key, f"spare-{key}@example.org") for key in keys])

    def fight(self, front: Front, chance: random.Random, over: threading.Event) -> None:
        """Let a front's faults happen one after another until it is over."""
        while not over.is_set():
            enough = self.history.deliveries + chance.uniform(0, 2) * front.deliveries
            while self.history.deliveries < enough and not over.wait(TICK):
                pass
            if not over.is_set():
                self.strike(front.choose(chance), chance)

    def strike(self, fault: Fault, chance: random.Random) -> None:
        """Let one fault happen, and count it; one that missed is counted apart."""
        try:
            fault(self.system, chance)
        except nemesis.MissedError:
            told = ["missed"]
        except Exception as failed:
            failed.add_note(f"amid {fault.__name__}")
            raise
        else:
            told = ["faults", fault.__name__]
        self.system.forgive()
        with self.lock:
            self.counts.update(told)

    def check(self) -> None:
        """Wait until all is done, tell how it stands, and compare history and tables."""
        wait_until_settled(within=AMID_POISON)
        bulk.wait_until_done()
        told(f"missed {self.counts['missed']}", faults=self.counts["faults"], history=self.history)
        check(self.history, folder=self.system.folder)
        assert not self.history.given_up, f"{len(self.history.given_up)} messages were never taken"
        assert self.history.refusals <= {503}, self.history.refusals
        if self.system.post:
            self.system.post.check()

    def deaths(self) -> int:
        """Count the processes that a poison message ended; they are not among the faults."""
        died = self.system.folder / "deaths"
        return len(died.read_text().split()) if died.exists() else 0

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
            for key in self.system.add_keys(max(1, self.keys // POISONED))
        ]
        repeated = self.chance.sample(once, self.keys // 3)
        replayed = self.chance.sample(self.before, min(len(self.before), self.keys // 10))
        made = [*once, *raced, *self.launches(), *repeated, *replayed]
        self.chance.shuffle(made)
        early = made[: len(made) // 3] + poison  # it takes a while until it is set apart
        self.chance.shuffle(early)
        return early + made[len(made) // 3 :]

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
        some = chance.sample(self.before, min(len(self.before), 10))
        with system.days_later(f"{chance.randrange(2, 9)}d"):
            post_all(system, some, history=self.history).join()


def enough(storm: Storm, *, faults: int) -> Callable[[], bool]:
    """Go on until so many faults have happened."""
    return lambda: storm.counts["faults"] < faults


def until(moment: float) -> Callable[[], bool]:
    """Go on until a moment of time.monotonic."""
    return lambda: time.monotonic() < moment
