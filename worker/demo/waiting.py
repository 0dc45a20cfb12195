"""Waiting for the demo's worker."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from worker.database.connections import transaction
from worker.errors import KeypoolError
from worker.redemption import waiting

T = TypeVar("T")

TIMEOUT = 120  # seconds without progress
POLL_SECONDS = 0.05


class WorkerStuckError(KeypoolError):
    """The worker does not get on."""


def during(question: Callable[[], T]) -> Iterator[T]:
    """Poll until the answer is zero, and yield each answer.

    Raises:
        WorkerStuckError: the answer stays the same for two minutes.
    """
    last, since = None, time.monotonic()
    while answer := question():
        yield answer
        if answer != last:
            last, since = answer, time.monotonic()
        if time.monotonic() > since + TIMEOUT:
            raise WorkerStuckError
        time.sleep(POLL_SECONDS)


def until_settled() -> None:
    """Wait until no event waits to be decided."""
    for _ in during(lambda: transaction(waiting.first_waiting)):
        pass
