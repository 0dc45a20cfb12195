"""What the lab sees past every line: which of the sent messages are decided, and which wait."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from tests.hosts.traffic import Traffic

EVERY = 0.25  # seconds
DECIDED = "SELECT webhook_id FROM event WHERE status <> 'recorded' AND settled_at > %s"
NOW = "SELECT clock_timestamp() - interval '30 seconds'"  # commits may come that much after their time


@dataclass
class Most:
    """The most that waited while somebody looked."""

    waiting: int = 0  # messages that were posted and not decided
    oldest: float = 0.0  # seconds that the oldest of them had waited
    recorded: float = 0.0  # seconds that the oldest acknowledged one had
    taken: float = 0.0  # seconds from a message's first post to its 2xx


class Watch:
    """A thread that looks at the database by its socket, several times a second."""

    def __init__(self, database: str, traffic: Traffic) -> None:
        self.most = Most()
        self._database, self._traffic = database, traffic
        self._decided: set[str] = set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def waiting(self, *, since: float | None = None) -> list[str]:
        """Give the messages that were posted (before a time of time.monotonic) and are not decided."""
        return [
            one
            for one, begun in self._traffic.begun.copy().items()  # another thread adds to it
            if one not in self._decided and (since is None or begun < since)
        ]

    def _run(self) -> None:
        while not self._ending.is_set():
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(self._database, autocommit=True, connect_timeout=2) as line,
            ):
                self._look_on(line)
            self._count()
            self._ending.wait(EVERY)

    def _look_on(self, line: psycopg.Connection) -> None:
        seen = "-infinity"
        while not self._ending.wait(EVERY):
            now = line.execute(NOW).fetchone()
            self._decided |= {row[0] for row in line.execute(DECIDED, [seen])}
            seen = now[0] if now else seen
            self._count()

    def _count(self) -> None:
        now, waiting = time.monotonic(), self.waiting()
        most, taken = self.most, self._traffic.taken
        most.waiting = max(most.waiting, len(waiting))
        for one in waiting:
            most.oldest = max(most.oldest, now - self._traffic.begun[one])
            most.recorded = max(most.recorded, now - taken.get(one, now))
            most.taken = max(most.taken, taken.get(one, now) - self._traffic.begun[one])


@contextmanager
def watching(database: str, traffic: Traffic) -> Iterator[Watch]:
    """Look on while the block lasts."""
    watch = Watch(database, traffic)
    watch._thread.start()
    try:
        yield watch
    finally:
        watch._ending.set()
        watch._thread.join()
