"""The scheduler: it publishes hints for what is due, and tolerates wrong clocks."""

import time
from datetime import timedelta
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from worker import broker
from worker.machine import watchdog

MOST_WAITING = 100  # queued hints that no worker takes; one more would add nothing
OFTEN = timedelta(hours=1)  # jobs less frequent than this are published regardless


class Scheduler(PersistentScheduler):
    """Celery's scheduler, made robust against clocks that are set back or differ between machines.

    After its clock was set back, Celery's own publishes nothing until the old time is reached
    again. And it computes a task's expiry by beat's clock, while the worker checks it by its own: a
    worker whose clock is ahead discards every task. So no hint expires; their number is bounded.
    """

    _heartbeat_at = 0.0

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Publish hints for what is due, and give the seconds until the next tick."""
        watchdog.alive()
        ahead = [one for one in self.schedule.values() if one.last_run_at > one.default_now()]
        for entry in ahead:
            entry.last_run_at = entry.default_now()
        if ahead:
            self._heap = None  # it is rebuilt with times of the current clock
        seconds: float = super().tick(*args, **kwargs)
        if time.monotonic() >= self._heartbeat_at:
            self._heartbeat_at = time.monotonic() + broker.HEARTBEAT_SECONDS
            broker.beat("beat")
        return seconds

    def close(self) -> None:
        """Note when each job ran, and that this scheduler ends as it should."""
        super().close()
        broker.leave("beat")

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Publish a due entry's hint, unless it is frequent and too many hints wait."""
        if entry.schedule.run_every >= OFTEN or broker.untaken() < MOST_WAITING:
            super().apply_entry(entry, producer=producer)
