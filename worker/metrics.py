"""What a process alone knows, counted for /metrics: counters and histograms.

To count takes a microsecond and asks nobody. What was counted waits in the process until `worker.broker`
adds it to the sums of all processes, which a scrape reads.
"""

import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

# A name of a series, its labels' values, and of a histogram the bucket's bound or “sum”.
Key = tuple[str, ...]

_lock = threading.Lock()
_counted: Counter[Key] = Counter()  # amounts of seconds, too


@dataclass(frozen=True)
class Count:
    """A counter: how often something happened."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()

    def add(self, *values: str, amount: float = 1) -> None:
        """Count something, with the values of its labels: few, and never a tenant's data."""
        with _lock:
            _counted[self.name, *values] += amount  # type: ignore[assignment]  # seconds, too


@dataclass(frozen=True)
class Duration:
    """A histogram of seconds; `bounds` are its buckets' upper ends."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = (0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 60)

    def observe(self, seconds: float, *values: str) -> None:
        """Count a duration."""
        key = (self.name, *values)
        place = bisect_left(self.bounds, seconds)
        with _lock:
            _counted[*key, self.buckets[place]] += 1
            _counted[*key, "sum"] += seconds  # type: ignore[assignment]

    @cached_property
    def buckets(self) -> tuple[str, ...]:
        """Give the buckets' names, the last one for whatever took longer."""
        return (*(str(float(bound)) for bound in self.bounds), "+Inf")


def taken() -> Mapping[Key, float]:
    """Take what was counted since the last time."""
    global _counted
    with _lock:
        counted, _counted = _counted, Counter()
    return counted


def give_back(counted: Mapping[Key, float]) -> None:
    """Keep what could not be added to the sums; it is taken again."""
    with _lock:
        _counted.update(counted)


def _forget_in_a_child() -> None:
    """Begin at nothing: what was counted before a fork is the parent's."""
    global _lock
    _lock = threading.Lock()
    _counted.clear()


os.register_at_fork(after_in_child=_forget_in_a_child)

REQUESTS = Count(
    "keypool_http_requests_total",
    "Requests that the web answered, by the route's template.",
    ("method", "route", "status"),
)
REQUEST_SECONDS = Duration(
    "keypool_http_request_seconds",
    "How long the web took to answer those who did not ask to wait for a decision.",
    ("method", "route"),
)
RUNS = Count(
    "keypool_job_runs_total",
    "Runs of the worker's jobs, by their result.",
    ("task", "result"),  # “job” is what Prometheus calls what it scrapes
)
RUN_SECONDS = Duration("keypool_job_seconds", "How long a run of a job took.", ("task",))
SETTLED = Count(
    "keypool_events_settled_total",
    "Events that were decided, by outcome; “retried” are batches that failed.",
    ("outcome",),
)
BATCH_SECONDS = Duration(
    "keypool_settle_batch_seconds", "How long it took to decide a batch of events."
)
DELIVERED = Count(
    "keypool_deliveries_total",
    "Attempts to deliver outgoing events, by result.",
    ("result",),
)
POST_SECONDS = Duration(
    "keypool_delivery_post_seconds", "How long an endpoint took to answer one delivery."
)
MAILED = Count("keypool_mails_total", "Attempts to send mails, by result.", ("result",))
MADE = Count("keypool_keys_made_total", "Keys that batches made.")

ALL: tuple[Count | Duration, ...] = (
    REQUESTS,
    REQUEST_SECONDS,
    RUNS,
    RUN_SECONDS,
    SETTLED,
    BATCH_SECONDS,
    DELIVERED,
    POST_SECONDS,
    MAILED,
    MADE,
)
