"""The tasks and their nudges, on a real broker and with a real worker process."""

import json
import socket
import time
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads
from redis import Redis
from sqlalchemy import text

from tests import waiting
from tests import world as worlds
from tests.hinting import a_worker, eventually, queued
from tests.receiving import receiving
from tests.smtpd import mail_server
from worker import broker as brokers
from worker import logs, metrics, tasks
from worker.celery import KEY_PREFIX, app
from worker.database import periods
from worker.database.connections import session as transaction_of
from worker.outgoing import endpoints
from worker.pools import distributions
from worker.reporting import keeping
from worker.settings import settings


@pytest.mark.usefixtures("broker")
def test_tasks_are_json_alone():
    assert (app.conf.task_serializer, app.conf.accept_content) == ("json", ["json"])
    with pytest.raises(ContentDisallowed):
        loads(b"", "application/x-python-serialize", "binary", accept=app.conf.accept_content)


def test_many_nudges_are_one_task(broker):
    for _ in range(50):
        tasks.nudge_settle()

    assert queued(broker) == 1


def test_a_task_that_looks_lets_the_next_nudge_through(broker):
    tasks.nudge_settle()
    tasks._looked("settle")
    tasks.nudge_settle()

    assert queued(broker) == 2


def test_a_nudge_while_the_broker_is_away_costs_a_moment_once_and_then_nothing(broker, monkeypatch):
    asked = []

    def nobody() -> Redis:
        asked.append(clock.now)
        return Redis.from_url("unix:///nowhere/redis.sock", socket_connect_timeout=0.3)

    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(tasks, "time", clock)
    monkeypatch.setattr(brokers, "client", nobody)
    for clock.now in (1000.0, 1000.0, 1000.0 + tasks.AWAY / 2, 1001.0 + tasks.AWAY):
        tasks.nudge_settle()

    assert asked == [1000.0, 1001.0 + tasks.AWAY]
    assert queued(broker) == 0


def test_a_nudged_worker_settles_what_waits(broker, fresh_database):
    with transaction_of() as session:
        world = worlds.build(session)
        for number, code in enumerate(world.keys(20)):
            world.request(code, f"{number}@example.org")

    with a_worker(fresh_database):
        tasks.nudge_settle()
        assert eventually("SELECT count(*) = 20 FROM redemption WHERE outcome = 'redeemed'")


def test_a_worker_tells_that_it_lives_and_what_it_did_and_says_goodbye(
    broker, fresh_database, tmp_path
):
    with transaction_of() as session:
        periods.plan(session, {"settle": timedelta(seconds=5)})
        world = worlds.build(session)
        event = world.request(world.keys(1)[0], "ann@example.org")

    log = tmp_path / "worker.log"
    with log.open("wb") as output, a_worker(fresh_database, output):
        tasks.nudge_settle()
        assert eventually("SELECT succeeded_at IS NOT NULL FROM schedule_job")
        assert waiting.eventually(lambda: ("keypool_job_seconds", "settle", "sum") in told())
        alive = brokers.processes()

    assert [one.kind for one in alive] == ["worker"]
    assert brokers.processes() == []
    assert told()["keypool_events_settled_total", "redeemed"] == 1
    assert told()["keypool_job_runs_total", "settle", "success"] == 1
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    of_the_task = [line for line in lines if "settle" in str(line)]
    assert [line["event"] for line in of_the_task] == ["events settled"]
    line = of_the_task[0]
    assert (line["events"], line["redeemed"], line["job"]) == ([event], 1, "settle")
    assert (line["service"], line["host"]) == ("worker", socket.gethostname())
    assert line["version"] == version("keypool")


def told() -> dict[metrics.Key, float]:
    return brokers.counts()


def test_a_worker_outlives_a_broker_that_refuses(broker, fresh_database):
    with transaction_of() as session:
        world = worlds.build(session)
        codes = world.keys(2)
        world.request(codes[0], "first@example.org")

    with a_worker(fresh_database) as worker:
        tasks.nudge_settle()
        assert eventually("SELECT count(*) = 1 FROM redemption")

        broker.set(f"{KEY_PREFIX}celery", "no list")  # whoever asks for its next hint is refused
        time.sleep(3)
        assert worker.poll() is None
        broker.delete(f"{KEY_PREFIX}celery")
        with transaction_of() as session:
            replace(world, session=session).request(codes[1], "second@example.org")

        def swept() -> bool:  # a hint that the worker was given while it hung up is lost
            app.send_task("settle")
            return eventually("SELECT count(*) = 2 FROM redemption", seconds=5)

        assert any(swept() for _ in range(24))


TASKS = [
    "settle",
    "work_batches",
    "deliver",
    "mail",
    "remind",
    "tell_of_pools",
    "watch_pools",
    "blank_bodies",
    "forget_answers",
    "forget_old",
    "sweep_sign_ins",
    "expire",
    "fold_tallies",
    "bill",
    "schedule_reports",
    "make_reports",
    "keep_lake",
    "audit",
]


def test_every_scheduled_task_exists():
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}

    assert scheduled == set(TASKS)
    assert scheduled <= set(app.tasks)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_may_run_on_an_empty_system_and_twice(broker, task):
    app.tasks[task]()
    app.tasks[task]()


def test_a_day_is_audited_once(broker):
    app.tasks["audit"]()
    app.tasks["audit"]()

    with transaction_of() as session:
        assert session.scalar(text("SELECT count(*) FROM schedule_run WHERE job = 'audit'")) == 1
        assert (
            session.scalar(text("SELECT count(*) FROM audit_run WHERE ended_at IS NOT NULL")) == 1
        )


def test_an_audit_that_died_is_ended_by_the_schedule(broker, monkeypatch):
    monkeypatch.setattr(tasks, "STINT", 0)  # as if it died before its first slice
    app.tasks["audit"]()
    monkeypatch.undo()

    app.tasks["audit"]()

    with transaction_of() as session:
        assert session.scalars(text("SELECT ended_at IS NOT NULL FROM audit_run")).all() == [True]


def test_an_invoice_that_the_schedule_finalizes_has_its_months_reports_made(broker):
    with transaction_of() as session:
        worlds.build(session).request_of_last_month("ann@example.com")
    tasks.settle()

    tasks.bill()

    with transaction_of() as session:
        kept = session.execute(text("SELECT notebook FROM report_run ORDER BY notebook"))
        assert list(kept.scalars()) == sorted(keeping.MONTHLY)


def test_what_is_settled_is_told_without_waiting_for_the_sweep(broker, monkeypatch):
    monkeypatch.setenv("KEYPOOL_PRIVATE_ENDPOINTS", "true")
    settings.cache_clear()
    with receiving() as receiver:
        with transaction_of() as session:
            world = worlds.build(session)
            parent = str(world.parent)
            endpoints.add(session, actor=worlds.OPERATOR, url=receiver.url, organization=parent)
            world.request(world.keys(1)[0], "ann@example.com")

        tasks.settle()
        hinted = bool(broker.exists(f"{tasks.NUDGED}deliver"))
        tasks.deliver()

    assert hinted
    assert [json.loads(request.body)["type"] for request in receiver.received] == [
        "redemption.decided"
    ]
    assert not broker.exists(f"{tasks.NUDGED}deliver")


def test_mails_are_sent_and_no_log_has_their_keys_or_addresses(broker, monkeypatch, capfd):
    with mail_server() as server:
        monkeypatch.setenv("KEYPOOL_SMTP_URL", server.url)
        monkeypatch.setenv("KEYPOOL_MAIL_FROM", "keys@keypool.example")
        settings.cache_clear()
        logs.configure()
        server.at_door = {"bob@example.org": "550 No such user"}
        with transaction_of() as session:
            world = worlds.build(session)
            codes = world.keys(2)
            for recipient in ("ann@example.org", "bob@example.org"):
                distributions.distribute(
                    session, actor=worlds.OPERATOR, pool=world.pool, recipient=recipient, mail=True
                )

        tasks.nudge("mail")
        tasks.mail()

    logged = "".join(capfd.readouterr())
    assert [mail.recipient for mail in server.received] == ["ann@example.org"]
    assert not broker.exists(f"{tasks.NUDGED}mail")
    assert "mails sent" in logged
    for secret in (*codes, "ann@example.org", "bob@example.org"):
        assert secret not in logged


def test_pools_are_told_of_and_old_bodies_blanked_on_the_schedule(broker):
    with transaction_of() as session:
        world = worlds.build(session)
        parent, url = str(world.parent), "https://hooks.example/"
        endpoints.add(session, actor=worlds.OPERATOR, url=url, organization=parent)
        world.keys(1)
        world.request("NO-SUCH-KEY", "ann@example.org")
        session.execute(
            text("INSERT INTO message (organization_id, kind, recipient, data, state, ended_at)"
                 " VALUES (:id, 'keys', 'ann@example.org', '{}', 'sent', now() - interval '91 days')"),
            {"id": world.parent},
        )  # fmt: skip

    tasks.settle()
    tasks.tell_of_pools()
    with transaction_of() as session:
        told = session.execute(text("SELECT type::text FROM delivery ORDER BY id")).scalars().all()
        session.execute(
            text("UPDATE delivery SET state = 'delivered', ended_at = now() - interval '91 days'")
        )
        session.execute(text("UPDATE event SET settled_at = now() - interval '91 days'"))
    tasks.blank_bodies()

    assert told == ["redemption.decided", "pool.low"]
    with transaction_of() as session:
        for table in ("delivery", "message", "event"):
            assert session.scalar(text(f"SELECT count(data) FROM {table}")) == 0


OLD_ROWS = text("""
    INSERT INTO endpoint (organization_id, url, types) VALUES (1, 'https://example.com', '{pool.low}');
    INSERT INTO delivery (endpoint_id, type, happened_at, state, ended_at, data)
    SELECT 1, 'pool.low', clock_now() - age, state::delivery_state,
           CASE WHEN state <> 'waiting' THEN clock_now() - age END, '{}'
      FROM (VALUES ('delivered', interval '500 days'), ('waiting', '500 days'), ('delivered', '300 days'))
        AS old (state, age);
    INSERT INTO history (at, actor, action, thing, thing_id)
    SELECT clock_now() - interval '3 years', 'ann', action, 'pool', 1
      FROM unnest('{signed in,sign-in failed,confirmation failed,second factor failed,
                    password link asked for,password chosen,pool paused}'::text[]) AS action""")
LEFT = text("""
    SELECT (SELECT count(*) FROM delivery),
           (SELECT count(*) FROM history WHERE at < clock_now() - interval '1 year')""")


@pytest.mark.parametrize(
    ("variables", "left"),
    [
        ({}, (2, 7)),
        ({"KEYPOOL_DELIVERIES_KEPT": "90d"}, (1, 7)),
        ({"KEYPOOL_SIGN_INS_KEPT": "365d"}, (2, 2)),
        ({"KEYPOOL_HISTORY_KEPT": "365d"}, (2, 0)),
    ],
)
def test_old_deliveries_are_removed_and_history_where_a_setting_says_so(
    broker, monkeypatch, variables, left
):
    with transaction_of() as session:
        worlds.build(session)
        session.execute(OLD_ROWS)
    with monkeypatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        settings.cache_clear()
        tasks.forget_old()
    settings.cache_clear()

    with transaction_of() as session:
        assert tuple(session.execute(LEFT).one()) == left
