"""The broker of the worker's tests, and browsers in Chromium's place."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.conftest import forget
from worker import broker as brokers
from worker import metrics, tasks
from worker.celery import KEY_PREFIX, app, redis_url
from worker.machine import fence


@pytest.fixture
def broker(fresh_database):
    """The run's Redis, emptied of keypool's keys, with the tasks' connections pointing at it.

    What tests of this process counted before goes with them.
    """
    redis = Redis.from_url(redis_url())
    app.conf.broker_url = fresh_database.redis_url
    app._after_fork()  # forget the connections to where it pointed before
    brokers.client.cache_clear()
    tasks._asked_in_vain = -tasks.AWAY
    metrics.taken()
    for key in redis.scan_iter(f"{KEY_PREFIX}*"):
        redis.delete(key)
    yield redis
    redis.close()


@pytest.fixture
def browser(monkeypatch) -> Iterator[Callable[[Path], None]]:
    """Name a program that prints from now on, in place of the machine's Chromium."""

    def name(program: Path) -> None:
        monkeypatch.setenv("KEYPOOL_CHROMIUM", str(program))
        forget()

    yield name
    monkeypatch.undo()
    forget()


@pytest.fixture
def chromium(tmp_path, browser, monkeypatch) -> Path:
    """A Chromium that writes down how it was called, and prints what it was given."""
    told = tmp_path / "chromium"
    told.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/called\n'
        'for word in "$@"; do case "$word" in\n'
        '--print-to-pdf=*) printf "%%PDF-1.4" > "${word#*=}";;\n'
        "esac; done\n"
    )
    told.chmod(0o755)
    browser(told)
    monkeypatch.setattr(fence, "obstacle", lambda: "it writes down its call outside")
    return tmp_path / "called"
