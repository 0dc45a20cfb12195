"""Hints on a real broker, and a real worker that takes them."""

import subprocess
import sys
from contextlib import contextmanager

from redis import Redis
from sqlalchemy import text

from tests import waiting
from worker.celery import KEY_PREFIX
from worker.database.connections import session as transaction_of


@contextmanager
def a_worker(addresses, log=subprocess.DEVNULL):
    """Run a real worker process until the block ends; `log` is the file that it writes to."""
    command = [sys.executable, "-m", "celery", "-A", "worker.celery", "worker", "--concurrency=1"]
    process = subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle", "--pool=solo"],
        env={"PATH": "/usr/bin:/bin", "KEYPOOL_LOG_FORMAT": "json", **addresses.environment()},
        stdout=log,
        stderr=log,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(120)


def queued(broker: Redis) -> int:
    return broker.llen(f"{KEY_PREFIX}celery")


def eventually(question: str, *, seconds: float = waiting.LONGEST) -> bool:
    """Say whether the answer to a question in SQL comes to be true."""

    def asked() -> bool:
        with transaction_of() as session:
            return bool(session.scalar(text(question)))

    return waiting.eventually(asked, seconds=seconds)
