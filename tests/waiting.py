"""Waiting for what must come: for the condition and not by the clock, since a machine has other work."""

import os
import time
from collections.abc import Callable

from sqlalchemy import text

from worker.database import connections

LONGEST = 120  # seconds; against a hang only


def eventually(condition: Callable[[], object], *, seconds: float = LONGEST) -> bool:
    """Say whether something comes to hold."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def stretch() -> float:
    """Say how much longer than alone work takes on this machine now: how many share a processor."""
    return max(1, os.getloadavg()[0] / (os.cpu_count() or 1))


WAITS_FOR_A_LOCK = text("""
    SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
     WHERE datname = current_database() AND NOT granted
""")


def somebody_waits_for_a_lock() -> bool:
    """Say whether a statement on the test's database waits for another transaction."""
    return bool(connections.transaction(lambda session: session.scalar(WAITS_FOR_A_LOCK)))
