"""Waiting for a batch, and working on it, so that it is done even if no worker is alive."""

import time
from collections.abc import Iterator

from worker.cli import printing, progress
from worker.cli.frame import deferred
from worker.cli.system import operator

with deferred():
    from worker import tasks
    from worker.database import connections
    from worker.pools import batches

POLL_SECONDS = 0.2  # seconds between polls, while somebody else works on it
UNFINISHED = ("queued", "running")
DOING = {"generate": "Generating keys", "import": "Importing keys"}


def finish(batch: str) -> "batches.BatchShape":
    """Show a batch's progress until it is finished, and give the finished batch.

    This process works on chunks, too; workers take turns, so that does no harm. An interrupt leaves
    the batch running.
    """
    shown = _look(batch)
    try:
        with progress.bar(shown["requested"], DOING[shown["kind"]]) as advance:
            while shown["state"] in UNFINISHED:
                if connections.transaction(batches.work_chunk) is None:
                    time.sleep(POLL_SECONDS)
                shown = _look(batch)
                advance(shown["worked"])
    except KeyboardInterrupt:
        printing.warn(left(batch))
        raise
    return shown


def leave() -> None:
    """Nudge the worker for a batch that nobody waits for."""
    tasks.nudge("work_batches")


def left(batch: str) -> str:
    """Say how to watch a batch."""
    return f"Batch {batch} goes on; watch it with “keypool batches watch {batch}”."


def lines(batch: "batches.BatchShape") -> Iterator[str]:
    """Say what a batch made, or how to watch it."""
    made = printing.counted(batch["made"], "key")
    if batch["state"] in UNFINISHED:
        yield left(batch["id"])
    elif batch["state"] == "failed":
        yield f"Batch {batch['id']} failed after {made}: {batch['error']}"
    else:
        rate = f", {batch['per_second']:,} a second" if batch["per_second"] else ""
        yield f"{made} made{rate} (batch {batch['id']}, {batch['state']})."


def failed(batch: "batches.BatchShape") -> bool:
    """Say whether a batch ended without making all that was requested."""
    return batch["state"] in ("failed", "cancelled")


def _look(batch: str) -> "batches.BatchShape":
    return connections.transaction(batches.show, actor=operator(), batch=batch)
