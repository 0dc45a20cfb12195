"""A whole keypool under fire: its own processes, senders that do not give up, and a nemesis.

Senders keep an append-only history of what was acknowledged. The nemesis is seeded, and each of its
faults proves that it took effect. At the end the history is compared with the tables, and the
ledger is audited.
"""

import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import psutil
import pytest
from sqlalchemy import text

from tests.conftest import forget
from worker import audit, embedded, errors, organizations, schema, sending, sources
from worker import courses as course_book
from worker import pools as pool_book
from worker.actors import Actor
from worker.database import engine, transaction
from worker.database import session as transaction_of
from worker.supervisor import Supervision, services, supervised

OPERATOR = Actor.operator("fault harness")
T = TypeVar("T")

SETTLED_WITHIN = 60  # seconds after the last fault


@dataclass
class System:
    """Keypool's processes on a home of their own, and one source that posts to it."""

    home: Path
    supervision: Supervision
    url: str
    secret: str
    pool: str

    @property
    def servers(self) -> embedded.Servers | None:
        """The embedded servers, while both run."""
        return embedded.running(self.home)

    def add_keys(self, count: int) -> list[str]:
        """Add keys to the pool and give their codes."""
        tag = os.urandom(4).hex()
        codes = [f"FAULT-{tag}-{number:06}".upper() for number in range(count)]
        with transaction_of() as session:
            session.execute(
                text(
                    "INSERT INTO key (pool_id, code) SELECT :pool, unnest(CAST(:codes AS text[]))"
                ),
                {"pool": int(self.pool), "codes": codes},
            )
        return codes


@contextmanager
def running_system(home: Path) -> Iterator[System]:
    """Run web, worker and beat on embedded servers, all of them revived when they die."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("KEYPOOL_"):
                patch.delenv(name)
        patch.setenv("KEYPOOL_HOME", str(home))
        forget()
        port = _free_port()
        with embedded.lease(home):
            schema.init(engine())
            url, secret, pool = _world(port)
            processes = services(home, host="127.0.0.1", port=port)
            revive = lambda: embedded.revive(home)  # noqa: E731  # upkeep takes a callable
            with supervised(processes, logs=home / "log", upkeep=revive) as supervision:
                supervision.wait_until_ready()
                yield System(home, supervision, url, secret, pool)
        forget()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _world(port: int) -> tuple[str, str, str]:
    with transaction_of() as session:
        organizations.add(session, actor=OPERATOR, name="Acme")
        course_book.add(session, actor=OPERATOR, code="C", title="T", price="49.90", currency="EUR")
        pool = pool_book.create(
            session,
            actor=OPERATOR,
            name="Under fire",
            organization="Acme",
            course="C",
            starts="2020-01-01",
            expires="2090-12-31",
            content_availability=30,
        )
        source = sources.add(session, actor=OPERATOR, name="senders", organization="Acme")
    return f"http://127.0.0.1:{port}{source['url']}", source["secret"], pool["id"]


# Senders -----------------------------------------------------------------------------------------


@dataclass
class History:
    """What was sent and what was acknowledged, in the order in which it happened."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: sending.Answer) -> None:
        """Write down an answer."""
        with self.lock:
            if answer.taken:
                self.acknowledged.setdefault(answer.webhook_id, time.monotonic())
            else:
                self.refusals.append(answer.status)


def redemption(code: str, email: str) -> sending.Message:
    """Make a redemption request."""
    return sending.message("redemption.requested", {"key": code, "learner": {"email": email}})


def post_all(
    system: System, messages: list[sending.Message], *, senders: int = 8, per_second: float = 1e9
) -> tuple[History, threading.Thread]:
    """Begin to post messages from many threads; each is tried until it is acknowledged."""
    history, waiting = History(), list(reversed(messages))

    def work() -> None:
        with sending.Sender(system.url, system.secret) as sender:
            while True:
                try:
                    message = waiting.pop()
                except IndexError:
                    return
                began = time.monotonic()
                _until_taken(sender, message, history)
                time.sleep(max(0.0, senders / per_second - (time.monotonic() - began)))

    def all_of_them() -> None:
        threads = [threading.Thread(target=work) for _ in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    thread = threading.Thread(target=all_of_them)
    thread.start()
    return history, thread


def _until_taken(sender: sending.Sender, message: sending.Message, history: History) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            answer = sender.post(message)
        except sending.ReceiverAwayError:
            continue
        history.note(answer)
        if answer.taken or answer.status < 500:
            return


# Nemesis -----------------------------------------------------------------------------------------


class Fault(Protocol):
    """Something that goes wrong; it proves that it did."""

    __name__: str

    def __call__(self, system: System, chance: random.Random) -> None:
        """Let it happen, once."""


def kill_worker(system: System, chance: random.Random) -> None:
    """Kill the worker, or one of its children, and see a new one in its place."""
    master = psutil.Process(_patiently(lambda: system.supervision.pids.get("worker")))
    children = master.children()
    _kill(chance.choice([master, *children]))


def kill_web(system: System, chance: random.Random) -> None:
    """Kill the web's first process, or one that serves."""
    master = psutil.Process(_patiently(lambda: system.supervision.pids.get("web")))
    _kill(chance.choice([master, *master.children()]))


def empty_redis(system: System, chance: random.Random) -> None:
    """Kill Redis and take its data away; it comes back empty."""
    before = _patiently(lambda: system.servers).redis_pid
    _kill(psutil.Process(before))
    shutil.rmtree(system.home / "redis" / "appendonlydir", ignore_errors=True)
    after = _patiently(lambda: system.servers).redis_pid
    assert after != before, "Redis was not killed"


def kill_postgres(system: System, chance: random.Random) -> None:
    """Kill PostgreSQL's first process; it recovers when it is started again."""
    before = _patiently(lambda: system.servers).postgres_pid
    _kill(psutil.Process(before))
    after = _patiently(lambda: system.servers).postgres_pid
    assert after != before, "PostgreSQL was not killed"


def storm(
    system: System,
    fault: Fault,
    *,
    times: int,
    pause: float,
    chance: random.Random,
) -> int:
    """Let a fault happen so many times; gives how many took effect."""
    for _ in range(times):
        fault(system, chance)
        time.sleep(chance.uniform(0.5, 1.5) * pause)
    return times


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
        process.wait(10)
    except psutil.NoSuchProcess:
        return
    assert not process.is_running(), "the fault did not take effect"


def _patiently(find: Callable[[], T | None], seconds: float = 30) -> T:
    deadline = time.monotonic() + seconds
    while (found := find()) is None:
        assert time.monotonic() < deadline, "nothing came back"
        time.sleep(0.05)
    return found


# Checker -----------------------------------------------------------------------------------------


def wait_until_settled(*, within: float = SETTLED_WITHIN) -> None:
    """Wait until no event waits; fails when some still do after that many seconds."""
    deadline = time.monotonic() + within
    while waiting := _waiting():
        assert time.monotonic() < deadline, f"{waiting} are stuck"
        time.sleep(0.2)


def _waiting() -> str | None:
    try:
        with transaction_of() as session:
            count = session.scalar(text("SELECT count(*) FROM event WHERE status = 'recorded'"))
    except errors.DatabaseAwayError:
        return "all events (the database is away)"
    return f"{count} events" if count else None


def check(history: History, *, within: float = SETTLED_WITHIN) -> dict[str, int]:
    """Compare history and tables, audit the ledger, and give the outcomes."""
    wait_until_settled(within=within)
    with transaction_of() as session:
        recorded = set(session.scalars(text("SELECT webhook_id FROM event")))
        outcomes = dict(
            session.execute(
                text("SELECT coalesce(outcome, 'failed'), count(*) FROM event GROUP BY 1")
            ).all()
        )
        doubled = session.scalars(
            text(
                "SELECT key_id FROM redemption WHERE outcome = 'redeemed'"
                " GROUP BY key_id HAVING count(*) > 1"
            )
        ).all()
        late_winners = session.scalars(WINNERS_THAT_WERE_NOT_FIRST).all()
    lost = history.acknowledged.keys() - recorded
    ledger = transaction(audit.audit)
    assert not lost, f"{len(lost)} acknowledged events are lost"
    assert not doubled, f"{len(doubled)} keys were spent twice"
    assert not late_winners, f"{len(late_winners)} keys went to somebody who was not first"
    assert ledger["ok"], [check for check in ledger["checks"] if not check["ok"]]
    return outcomes


# A winner that is behind another attempt which was recorded for good when it was settled: the web
# gives up a transaction after four seconds, so what was received five seconds before was there.
WINNERS_THAT_WERE_NOT_FIRST = text("""
    SELECT winner.key_id FROM redemption AS winner
      JOIN event AS won ON won.id = winner.event_id
      JOIN redemption AS other ON other.key_id = winner.key_id AND other.event_id <> winner.event_id
      JOIN event AS lost ON lost.id = other.event_id
     WHERE winner.outcome = 'redeemed' AND other.outcome = 'already_redeemed'
       AND (lost.received_at, lost.id) < (won.received_at, won.id)
       AND lost.received_at < won.settled_at - interval '5 seconds'
""")
