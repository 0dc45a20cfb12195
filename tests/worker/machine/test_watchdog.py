"""A process that stands still ends itself; one that is idle, or busy, or has no broker does not."""

import subprocess
import sys
from contextlib import contextmanager

import pytest
from celery.worker import state

from tests.waiting import LONGEST, eventually
from worker import beat
from worker.celery import app
from worker.machine import watchdog
from worker.tasks import Watchdog

# A module that a worker includes: it can be told to stand still, and loses its patience within a second.
PLANTED = """
import time
from celery.worker.control import control_command
from worker.machine import watchdog
from worker.tasks import Watchdog
watchdog.PATIENCE = 1.0

@control_command()
def stand_still(state):
    time.sleep(10_000)

@control_command()
def stop_taking(state):
    state.consumer.task_consumer.cancel()
"""

# A web process that answers a request, and then holds its loop.
STILL = """
import asyncio, time
from webhook.serving import Served
from worker.machine import watchdog
from worker.tasks import Watchdog
watchdog.PATIENCE = 1.0

def app(environ, start):
    start("204 No Content", [])
    return []

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def send(message):
    print("answered", message, flush=True)

async def main():
    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": [],
             "scheme": "http", "http_version": "1.1", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}
    await Served(app, watched=True)(scope, receive, send)
    time.sleep(10_000)

asyncio.run(main())
"""


@contextmanager
def a_worker(addresses, folder):
    """Run a worker process whose patience is short."""
    (folder / "planted.py").write_text(PLANTED)
    command = [sys.executable, "-m", "celery", "-A", "worker.celery", "worker", "--concurrency=1"]
    ready = folder / "ready"
    process = subprocess.Popen(
        [*command, "--without-mingle", "--include=planted"],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(folder),
            "KEYPOOL_READY_FILE": str(ready),
            **addresses.environment(),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert eventually(ready.exists)
        yield process
    finally:
        process.terminate()
        process.wait(LONGEST)


@pytest.fixture
def worker(broker, fresh_database, tmp_path):
    """A worker process that can be told to stand still."""
    with a_worker(fresh_database, tmp_path) as process:
        yield process


def test_a_worker_whose_loop_stands_still_ends_and_says_where(worker):
    app.control.broadcast("stand_still")

    _, said = worker.communicate(timeout=LONGEST)

    assert worker.returncode == 1
    assert "stand_still" in said


def test_a_worker_that_takes_no_hints_ends_once_some_wait(worker):
    # It has stopped before the hint is sent: else it may take it first.
    assert app.control.broadcast("stop_taking", reply=True, limit=1, timeout=LONGEST)
    idle = worker.poll()
    app.send_task("worker.tasks.settle")

    _, said = worker.communicate(timeout=LONGEST)

    assert idle is None
    assert worker.returncode == 1
    assert "Timeout" in said


def test_its_patience_is_more_than_twice_the_longest_task():
    limits = [task.time_limit or app.conf.task_time_limit for task in app.tasks.values()]

    assert 2 * max(limits) < watchdog.PATIENCE


def test_an_idle_worker_is_alive_and_so_is_one_that_takes_hints(monkeypatch):
    alive = []
    monkeypatch.setattr(watchdog, "alive", lambda: alive.append(True))
    step = Watchdog(None)
    step.taken = 0

    for waiting, taken in [(0, 0), (5, 3), (5, 3), (5, 4)]:
        monkeypatch.setattr("worker.broker.untaken", lambda waiting=waiting: waiting)
        monkeypatch.setattr(state, "total_count", {"settle": taken})
        step.look()
        alive.append(None)

    assert alive == [True, None, True, None, None, True, None]


def test_a_scheduler_is_alive_with_each_tick(broker, tmp_path, monkeypatch):
    alive = []
    monkeypatch.setattr(watchdog, "alive", lambda: alive.append(True))

    beat.Scheduler(app, schedule_filename=str(tmp_path / "beat")).tick()

    assert alive == [True]


def test_a_web_process_whose_loop_stands_still_ends():
    process = subprocess.run(
        [sys.executable, "-c", STILL], capture_output=True, text=True, timeout=LONGEST, check=False
    )

    assert process.returncode == 1
    assert "answered" in process.stdout
    assert "time.sleep" in process.stderr or "<string>" in process.stderr
