"""Another time for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Connection, event, func, select
from sqlalchemy.orm import Session, SessionTransaction

from worker.settings import settings


@contextmanager
def later(passed: timedelta) -> Iterator[None]:
    """Shift the clock of this process's transactions by that much; below zero, into the past."""
    seconds = str((settings().clock_offset + passed).total_seconds())

    def shift(_session: Session, _begun: SessionTransaction, connection: Connection) -> None:
        connection.execute(select(func.set_config("keypool.clock_offset", seconds, True)))

    event.listen(Session, "after_begin", shift)
    try:
        yield
    finally:
        event.remove(Session, "after_begin", shift)
