"""What a scrape of /metrics gives: of the database, of what processes counted, of who lives."""

import json
import os
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tests.webhook.conftest import Place, Sender, redemption, settle
from webhook.metrics import FIGURES, LABELLED
from worker import broker, celery, metrics, tasks
from worker.audit import auditing
from worker.database import connections, locks, periods, revisions
from worker.database.connections import Login, transaction
from worker.redemption import inbox

Scrape = dict[tuple[str, ...], float]


@pytest.fixture(autouse=True)
def emptied(place: Place):
    """Begin at nothing: other tests of this process counted, too."""
    broker.client.cache_clear()
    metrics.taken()
    broker.client().delete(broker.COUNTS, broker.HEARTBEATS)


def scraped(place: Place) -> Scrape:
    """Scrape, and give the value of each series, by its name and its labels' values."""
    families = text_string_to_metric_families(place.client.get("/metrics").text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_figure_is_in_a_scrape_that_nothing_came_before(place: Place):
    told = place.client.get("/metrics").text

    named = {*re.findall(r"^# TYPE (\w+) ", told, re.MULTILINE)}
    assert {*FIGURES, *LABELLED, *(one.name for one in metrics.ALL)} <= named
    assert {"keypool_database_up", "keypool_broker_up", "keypool_processes"} <= named


def test_requests_are_counted_by_template_and_status(place: Place, sender: Sender):
    place.client.get("/healthz")
    place.client.get("/healthz")
    sender.post(redemption())
    place.client.get("/no/such/path/as/ann@example.com")

    found = scraped(place)

    assert found["keypool_http_requests_total", "GET", "/healthz", "200"] == 2
    assert found["keypool_http_requests_total", "POST", "/webhooks/<source>", "202"] == 1
    assert found["keypool_http_requests_total", "GET", "none", "404"] == 1
    assert found["keypool_http_request_seconds_count", "GET", "/healthz"] == 2
    assert found["keypool_http_request_seconds_bucket", "+Inf", "GET", "/healthz"] == 2
    assert 0 < found["keypool_http_request_seconds_sum", "GET", "/healthz"] < 60


def test_a_request_that_waited_for_its_decision_is_counted_and_not_timed(
    place: Place, sender: Sender
):
    sender.post(redemption(), Prefer="wait=1")

    found = scraped(place)

    assert found["keypool_http_requests_total", "POST", "/webhooks/<source>", "202"] == 1
    assert ("keypool_http_request_seconds_count", "POST", "/webhooks/<source>") not in found


def test_a_method_that_a_stranger_made_up_is_no_label_of_its_own(place: Place):
    place.client.open("/healthz", method="MADEUP")

    found = scraped(place)

    assert any(key[:2] == ("keypool_http_requests_total", "other") for key in found)
    assert not any("MADEUP" in key for key in found)


def test_what_a_process_could_not_add_is_added_later(place: Place, monkeypatch):
    metrics.MADE.add(amount=3)
    with monkeypatch.context() as patch:
        patch.setattr(broker, "client", lambda: (_ for _ in ()).throw(ConnectionError))
        broker.carry()
    metrics.MADE.add(amount=4)

    assert scraped(place)["keypool_keys_made_total",] == 7


def test_a_forked_process_does_not_count_again_what_its_parent_counted(place: Place):
    metrics.MADE.add(amount=3)
    if (child := os.fork()) == 0:
        os._exit(0 if not metrics.taken() else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert scraped(place)["keypool_keys_made_total",] == 3


def test_a_duration_is_in_every_bucket_from_its_own_on(place: Place):
    for seconds in (0.001, 0.3, 0.5, 100):
        metrics.BATCH_SECONDS.observe(seconds)

    found = scraped(place)

    bounds = ("0.005", "0.1", "0.5", "60.0", "+Inf")
    buckets = [found["keypool_settle_batch_seconds_bucket", bound] for bound in bounds]
    assert buckets == [1, 1, 3, 3, 4]
    assert found["keypool_settle_batch_seconds_sum",] == pytest.approx(100.801)


def test_a_jobs_run_is_counted_and_its_success_noted(place: Place):
    with connections.session() as session:
        periods.plan(session, {"expire": celery.timedelta(minutes=1)})
        session.execute(text("UPDATE schedule_job SET planned_at = now() - interval '1 hour'"))
    before = scraped(place)
    tasks._noted.clear()

    tasks.expire.apply()

    found = scraped(place)
    assert before["keypool_job_last_success_seconds", "expire"] >= 3600
    assert found["keypool_job_last_success_seconds", "expire"] < 600
    assert found["keypool_job_interval_seconds", "expire"] == 60
    assert found["keypool_job_runs_total", "success", "expire"] == 1
    assert found["keypool_job_seconds_count", "expire"] == 1


def test_a_jobs_failure_is_counted_and_is_no_success(place: Place, monkeypatch):
    with connections.session() as session:
        periods.plan(session, {"expire": celery.timedelta(minutes=1)})
        session.execute(text("UPDATE schedule_job SET succeeded_at = now() - interval '1 hour'"))
    monkeypatch.setattr(tasks.expiring, "expire_all", lambda **_: 1 / 0)
    tasks._noted.clear()

    tasks.expire.apply()

    found = scraped(place)
    assert found["keypool_job_last_success_seconds", "expire"] >= 3600
    assert found["keypool_job_runs_total", "failure", "expire"] == 1


def test_the_schedule_notes_each_job_that_beat_plans_and_forgets_the_others(place: Place):
    with connections.session() as session:
        periods.plan(session, {"job of an older release": celery.timedelta(minutes=1)})

    celery._plan()

    jobs = {key[1] for key in scraped(place) if key[0] == "keypool_job_interval_seconds"}
    assert jobs == {one["task"] for one in celery.configuration()["beat_schedule"].values()}


def test_a_held_lock_has_its_holders_process_id_and_age(place: Place):
    with connections.session() as session:
        locks.take(session, "settling")
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        held = scraped(place)
    free = scraped(place)

    assert held["keypool_lock_holder_pid", "settling"] == pid
    assert held["keypool_lock_held_seconds", "settling"] > 0
    assert free["keypool_lock_holder_pid", "settling"] == 0
    assert free["keypool_lock_held_seconds", "settling"] == 0


def test_a_lock_that_the_web_holds_has_its_holder_too(place: Place, sender: Sender):
    with connections.session(Login.WEB, sees=inbox.entry(sender.source)) as session:
        locks.wait_for(session, "erasing")
        pid = session.scalar(text("SELECT pg_backend_pid()"))

        assert scraped(place)["keypool_lock_holder_pid", "erasing"] == pid


def test_connections_are_told_by_login_beside_their_limit(place: Place):
    found = scraped(place)

    used = sum(value for key, value in found.items() if key[0] == "keypool_connections")
    assert found["keypool_connections", "web"] >= 1
    assert 1 <= used <= found["keypool_connections_limit",] <= 1000


FOUND_A_FAULT = text("""
    INSERT INTO audit_run (begun_at, ended_at, faults)
    VALUES (clock_now() - interval '1.5 seconds', clock_now(), 1)""")


def test_the_last_audit_is_told_with_its_age(place: Place):
    with connections.session() as session:
        session.execute(FOUND_A_FAULT)
    failed = scraped(place)
    transaction(auditing.audit)

    found = scraped(place)

    assert (failed["keypool_audit_ok",], failed["keypool_audit_seconds",]) == (0, 1.5)
    assert found["keypool_audit_ok",] == 1
    assert found["keypool_audit_last_result_seconds",] < 600


def test_the_delay_of_the_latest_redemptions_is_told(place: Place, sender: Sender):
    sender.post(redemption())
    settle()

    found = scraped(place)

    delays = [found["keypool_settling_delay_seconds", at] for at in ("0.5", "0.95", "0.99")]
    assert delays == sorted(delays)
    assert delays[0] > 0
    assert found["keypool_settle_batch_seconds_count",] == 1


def test_workers_and_beats_are_told_by_their_heartbeats(place: Place):
    none = scraped(place)
    broker.beat("worker", "one@here")
    broker.beat("worker", "two@here")
    broker.beat("beat")
    _stop_the_heart_of("worker two@here", ago=broker.LOST_AFTER + 1)

    found = scraped(place)

    assert none["keypool_processes", "worker"] == 0
    assert none["keypool_heartbeat_seconds", "beat"] == float("inf")
    assert found["keypool_processes", "worker"] == 1
    assert found["keypool_processes_lost", "worker"] == 1
    assert found["keypool_processes", "beat"] == 1
    assert found["keypool_heartbeat_seconds", "worker"] < 60
    assert found["keypool_processes_code_revision", "worker"] == int(revisions.CODE)


def test_who_said_goodbye_is_not_lost_and_who_was_lost_is_forgotten_in_the_end(place: Place):
    for name in ("left@here", "lost@here"):
        broker.beat("worker", name)
    broker.leave("worker", "left@here")
    _stop_the_heart_of("worker lost@here", ago=broker.FORGOTTEN_AFTER + 1)

    assert scraped(place)["keypool_processes_lost", "worker"] == 0
    assert broker.client().hlen(broker.HEARTBEATS) == 0


def _stop_the_heart_of(process: str, *, ago: float) -> None:
    note = {"at": broker._now() - ago, "code": revisions.CODE}
    broker.client().hset(broker.HEARTBEATS, process, json.dumps(note))


def test_a_database_of_another_revision_is_told_and_not_read(place: Place):
    with connections.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        found = scraped(place)

        assert (found["keypool_schema_revision",], found["keypool_schema_fits",]) == (1, 0)
        assert found["keypool_code_revision",] == int(revisions.CODE)
        assert ("keypool_events_waiting",) not in found
    finally:
        with connections.session() as session:
            session.execute(
                text("UPDATE alembic_version SET version_num = :code"), {"code": revisions.CODE}
            )
