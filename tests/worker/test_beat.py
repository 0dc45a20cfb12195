"""The scheduler keeps hinting when clocks are wrong, and hints no more than is of use."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import text

from tests import world as worlds
from tests.hinting import a_worker, eventually, queued
from worker import beat, errors, metrics
from worker.broker import counts
from worker.celery import app
from worker.database.connections import session as transaction_of
from worker.redemption import settling

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    """Where schedulers keep what they did when."""
    return str(tmp_path / "beat")


def hinted(scheduler: beat.Scheduler) -> int:
    """Have a scheduler hint to whatever is due now, and count that."""
    hints = 0
    while scheduler.tick() == 0:
        hints += 1
    return hints


def test_a_clock_that_is_set_back_stops_no_sweep(broker, file):
    scheduler = beat.Scheduler(app, schedule_filename=file)
    with time_machine.travel(NOON, tick=False) as clock:
        hinted(scheduler)
        clock.shift(timedelta(hours=2))
        assert hinted(scheduler) == len(app.conf.beat_schedule)

        clock.shift(timedelta(days=-1))
        hinted(scheduler)
        clock.shift(timedelta(hours=2))

        assert hinted(scheduler) == len(app.conf.beat_schedule)


def test_a_scheduler_that_starts_before_its_last_end_stops_no_sweep(broker, file):
    with time_machine.travel(NOON, tick=False) as clock:
        before = beat.Scheduler(app, schedule_filename=file)
        hinted(before)
        before.close()
        clock.shift(timedelta(days=-1))
        after = beat.Scheduler(app, schedule_filename=file)
        hinted(after)

        clock.shift(timedelta(hours=2))

        assert hinted(after) == len(app.conf.beat_schedule)


def test_a_worker_takes_the_hints_of_a_scheduler_whose_clock_is_behind(
    broker, fresh_database, file
):
    scheduler = beat.Scheduler(app, schedule_filename=file)
    with time_machine.travel(NOON - timedelta(days=365), tick=False) as clock:
        hinted(scheduler)
        clock.shift(timedelta(hours=2))
        hinted(scheduler)
    with transaction_of() as session:
        world = worlds.build(session)
        world.request(world.keys(1)[0], "ann@example.org")

    with a_worker(fresh_database):
        assert eventually("SELECT count(*) = 1 FROM redemption", seconds=60)


def test_the_number_of_untaken_hints_is_bounded_except_for_infrequent_jobs(broker, file):
    scheduler = beat.Scheduler(app, schedule_filename=file)
    seldom = [one for one in scheduler.schedule.values() if one.schedule.run_every >= beat.OFTEN]
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(2 * beat.MOST_WAITING):
            hinted(scheduler)
            clock.shift(timedelta(seconds=10))
        before = queued(broker)
        clock.shift(timedelta(hours=1))
        hinted(scheduler)

    assert beat.MOST_WAITING <= before < beat.MOST_WAITING + len(app.conf.beat_schedule)
    assert queued(broker) - before == len(seldom)


@pytest.fixture
def waiting(broker) -> None:
    """An event that nobody settles."""
    with transaction_of() as session:
        world = worlds.build(session)
        world.request(world.keys(1)[0], "ann@example.org")


SETTLED = text("SELECT count(*) FROM redemption")


@pytest.mark.parametrize(("late", "settled"), [(timedelta(hours=1), 0), (timedelta(0), 1)])
def test_an_event_that_waits_for_too_long_is_settled_without_a_worker(waiting, late, settled):
    beat.settle_if_late(late)

    with transaction_of() as session:
        assert session.scalar(SETTLED) == settled


def test_what_a_scheduler_settled_counts_in_the_metrics(waiting, file):
    beat.settle_if_late(timedelta(0))

    beat.Scheduler(app, schedule_filename=file).tick()

    assert counts()["keypool_events_settled_total", "redeemed"] == 1


def test_what_was_settled_before_the_database_went_away_counts_too(waiting, monkeypatch):
    settled = settling.settle_batch

    def away_afterwards(**given: Any) -> list[str] | None:
        if outcomes := settled(**given):
            return outcomes
        raise errors.DatabaseAwayError

    monkeypatch.setattr(settling, "settle_batch", away_afterwards)

    beat.settle_if_late(timedelta(0))

    assert metrics.taken()["keypool_events_settled_total", "redeemed"] == 1


def test_a_scheduler_whose_broker_is_away_settles_by_itself(
    waiting, fresh_database, tmp_path, monkeypatch
):
    nobody = replace(fresh_database, redis_url="redis://127.0.0.1:1/0")
    command = [sys.executable, "-m", "celery", "-A", "worker.celery", "beat"]

    with subprocess.Popen(
        [*command, "--schedule", str(tmp_path / "beat")],
        env={"PATH": "/usr/bin:/bin", "KEYPOOL_SETTLE_SWEEP": "0.1s", **nobody.environment()},
    ) as process:
        came = eventually("SELECT count(*) = 1 FROM redemption")
        process.kill()

    assert came


def test_a_database_that_is_away_ends_no_scheduler(waiting, monkeypatch, logged):
    def away(_session: object, **_: object) -> bool:
        raise errors.DatabaseAwayError

    monkeypatch.setattr("worker.redemption.waiting.is_late", away)

    beat.settle_if_late(timedelta(0))

    assert [entry["error"] for entry in logged] == ["DatabaseAwayError"]
