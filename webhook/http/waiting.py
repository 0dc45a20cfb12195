"""Senders that wait for a decision (`Prefer: wait=N`, RFC 7240): few, and not for long."""

import re
import threading
import time

from sqlalchemy import text

from worker import errors
from worker.database import connections
from worker.database.connections import Login

MAX_SECONDS = 10  # seconds
MAX_WAITING = 32  # requests at once
POLL_SECONDS = 0.025

WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)
DECIDED = text("SELECT decided_events(:waited)")


def preferred(header: str | None) -> int | None:
    """Read the seconds to wait from a Prefer header, 10 at most; None if it asks for no wait."""
    match = WAIT.search(header or "")
    return min(int(match[1]), MAX_SECONDS) if match else None


class WaitingRoom:
    """Requests that wait for events; one thread polls for all of them, while there are any."""

    def __init__(self, most: int = MAX_WAITING) -> None:
        self._seats = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._waited: dict[int, list[threading.Event]] = {}

    def wait(self, event_id: int, seconds: float) -> bool:
        """Wait until an event is decided or the time is over; False at once if too many wait already."""
        if not self._seats.acquire(blocking=False):
            return False
        decided = threading.Event()
        try:
            self._enter(event_id, decided)
            decided.wait(seconds)
        finally:
            self._leave(event_id, decided)
            self._seats.release()
        return True

    def _enter(self, event_id: int, decided: threading.Event) -> None:
        with self._lock:
            if not self._waited:
                threading.Thread(target=self._look, name="waiting room", daemon=True).start()
            self._waited.setdefault(event_id, []).append(decided)

    def _leave(self, event_id: int, decided: threading.Event) -> None:
        with self._lock:
            others = self._waited[event_id]
            others.remove(decided)
            if not others:
                del self._waited[event_id]

    def _look(self) -> None:
        while True:
            time.sleep(POLL_SECONDS)
            with self._lock:
                waited = list(self._waited)
                if not waited:
                    return  # under the lock, so that the next request starts a new thread
            for event_id in _decided(waited):
                with self._lock:
                    for decided in self._waited.get(event_id, []):
                        decided.set()


def _decided(waited: list[int]) -> list[int]:
    try:
        with connections.session(Login.RECEIVER) as session:
            return list(session.scalars(DECIDED, {"waited": waited}))
    except errors.DatabaseAwayError:
        return []  # waiting requests answer "recorded" when their time is over
