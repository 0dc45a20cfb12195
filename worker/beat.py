"""The scheduler that hints to what is due, whatever the machines' clocks say."""

from datetime import timedelta
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from worker.celery import app

MOST_WAITING = 100  # hints that nobody takes; one more would say nothing
OFTEN = timedelta(hours=1)  # what comes less often than this is hinted to all the same


class Scheduler(PersistentScheduler):
    """Celery's scheduler, made to go on where clocks are set back, or differ between machines.

    Celery's own keeps still until a clock has come again to where it was. And a hint of its that
    expires does so by the worker's clock at a time that was reckoned by beat's: a worker whose
    clock is ahead throws every one away. So no hint expires; how many may wait is bounded instead.
    """

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Hint to what is due, and give the seconds until the next tick."""
        ahead = [one for one in self.schedule.values() if one.last_run_at > one.default_now()]
        for entry in ahead:
            entry.last_run_at = entry.default_now()
        if ahead:
            self._heap = None  # it is made anew, with times that this clock knows
        seconds: float = super().tick(*args, **kwargs)
        return seconds

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Hint to what is due, unless that is often and its hints are not being taken."""
        if entry.schedule.run_every >= OFTEN or hints_waiting() < MOST_WAITING:
            super().apply_entry(entry, producer=producer)


def hints_waiting() -> int:
    """Count the hints that no worker has taken; 0 while the broker is away."""
    with app.connection_or_acquire() as connection:
        try:
            queue = app.amqp.queues[app.conf.task_default_queue](connection.default_channel)
            return int(queue.queue_declare().message_count)
        except (*connection.connection_errors, *connection.channel_errors):
            return 0
