"""The scheduler: it publishes hints for what is due, and tolerates wrong clocks."""

import threading
import time
from datetime import timedelta
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry, Service
from celery.signals import beat_init

from worker import broker
from worker.database.connections import transaction
from worker.logs import log
from worker.machine import watchdog
from worker.redemption import waiting

MOST_WAITING = 100  # queued hints that no worker takes; one more would add nothing
LOOK_SECONDS = 2  # between two looks whether an event waits for too long
STINT = 10  # seconds that a settler in place of a worker goes on for
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
            broker.carry()  # what the standby counted
        return seconds

    def close(self) -> None:
        """Note when each job ran, and that this scheduler ends as it should."""
        super().close()
        broker.leave("beat")

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Publish a due entry's hint, unless it is frequent and too many hints wait."""
        if entry.schedule.run_every >= OFTEN or broker.untaken() < MOST_WAITING:
            super().apply_entry(entry, producer=producer)


@beat_init.connect
def _stand_by(sender: Service, **_: object) -> None:
    """Have a thread settle what no worker hears of: Redis is away, or no worker reaches it."""
    if sweep := sender.scheduler.schedule.get("settle"):
        late = sweep.schedule.run_every
        threading.Thread(target=_settle_late, args=(late,), name="standby", daemon=True).start()


def _settle_late(late: timedelta) -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        settle_if_late(late)


def settle_if_late(late: timedelta) -> None:
    """Settle what waits, if something has waited for longer than the sweep takes; raises nothing."""
    try:
        if transaction(waiting.is_late, waited=late):
            _settle_in_place_of_a_worker()
    except Exception as error:  # the database is away, say: it looks again
        log.warning("nothing settled in place of a worker", error=type(error).__name__)


def _settle_in_place_of_a_worker() -> None:
    from worker.redemption import settling  # it takes half of beat's start, and is seldom needed

    if outcomes := settling.settle_all(until=time.monotonic() + STINT):
        log.warning("settled in place of a worker", **outcomes)
