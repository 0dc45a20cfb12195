"""Delivering to real receivers: slow, dead, redirecting, failing and back, more than one at once."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import svix
from sqlalchemy import text
from standardwebhooks import Webhook

from tests import world as worlds
from tests.receiving import answering, receiving, redirecting, slow
from tests.waiting import eventually
from tests.world import OPERATOR
from worker.database import connections, locks
from worker.outgoing import deliveries, delivering, endpoints, retries
from worker.settings import settings
from worker.tenancy import history


@pytest.fixture
def world(fresh_database, monkeypatch):
    """A committed world; endpoints may be on this machine, and have time to answer."""
    monkeypatch.setenv("KEYPOOL_PRIVATE_ENDPOINTS", "true")
    monkeypatch.setenv("KEYPOOL_ENDPOINT_PATIENCE", "60s")
    settings.cache_clear()
    with connections.session() as session:
        yield worlds.build(session)
    settings.cache_clear()


@pytest.fixture
def place(world):
    """The id of the organization that listens."""
    world.session.commit()
    return str(world.parent)


def listen(place: str, url: str) -> dict:
    with connections.session() as session:
        return endpoints.add(session, actor=OPERATOR, url=url, organization=place)


def tell(endpoint: dict, count: int = 1) -> None:
    """Put so many deliveries into the outbox of an endpoint."""
    sql("INSERT INTO delivery (endpoint_id, type, data) SELECT :id, 'pool.low',"
        " jsonb_build_object('nth', n) FROM generate_series(1, :count) AS n",
        id=int(endpoint["id"]), count=count)  # fmt: skip


def sql(statement: str, **given) -> list:
    with connections.session() as session:
        done = session.execute(text(statement), given)
        return list(done) if done.returns_rows else []


def deliver(seconds: float = 120) -> dict:
    return dict(delivering.deliver_all(until=time.monotonic() + seconds))


def now_due() -> None:
    """Let the time of the next tries come."""
    sql("UPDATE delivery SET due_at = clock_now() WHERE state = 'waiting'")
    sql("UPDATE endpoint SET rests_until = NULL")


def fates() -> list[tuple[str, int, str | None]]:
    rows = sql("SELECT state::text, attempts, error FROM delivery ORDER BY id")
    return [tuple(row) for row in rows]


def test_a_delivery_is_verified_by_the_standards_own_library(place):
    with receiving() as receiver:
        endpoint = listen(place, receiver.url)
        tell(endpoint)
        told = deliver()

    [request] = receiver.received
    assert told["delivered"] == 1
    assert request.headers["content-type"] == "application/json"
    body = Webhook(endpoint["secret"]).verify(request.body, request.headers)
    svix.Webhook(endpoint["secret"]).verify(request.body, request.headers)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(endpoint["secret"]).verify(request.body + b" ", request.headers)
    assert (body["type"], body["data"]) == ("pool.low", {"nth": 1})
    assert fates() == [("delivered", 1, None)]


def test_a_webhook_id_counts_nothing_and_an_older_delivery_keeps_its_own(place):
    with receiving() as receiver:
        tell(listen(place, receiver.url), 3)
        sql("UPDATE delivery SET identity = NULL WHERE id = (SELECT max(id) FROM delivery)")
        deliver()

    first, second, old = (request.headers["webhook-id"] for request in receiver.received)
    [(identity,)] = sql("SELECT max(id) FROM delivery")
    assert old == f"msg_{identity}"
    for opaque in (first, second):
        assert re.fullmatch("msg_[0-9a-f]{32}", opaque)
        assert str(identity) not in (opaque, opaque[4:].lstrip("0"))
    assert first[:12] != second[:12]


def test_an_endpoint_that_answers_429_is_left_alone_as_long_as_it_asks(place):
    with receiving(answering(429, retry_after="3600"), 200) as receiver:
        endpoint = listen(place, receiver.url)
        tell(endpoint, 2)
        deliver()
        sql("UPDATE delivery SET due_at = clock_now()")
        still = deliver()

    [(rest,)] = sql("SELECT extract(epoch FROM rests_until - clock_now()) FROM endpoint")
    assert 3500 < rest <= 3600
    assert (still, len(receiver.received)) == ({}, 1)


def test_an_endpoint_that_answers_410_is_paused_and_everybody_is_told(place):
    with receiving(410, 200) as receiver:
        endpoint = listen(place, receiver.url)
        tell(endpoint, 2)
        deliver()
        now_due()
        deliver()

    with connections.session() as session:
        shown = endpoints.show(session, actor=OPERATOR, endpoint=endpoint["id"])
        filters = history.Filters(thing="endpoint", action="endpoint paused")
        [act] = history.listing(session, actor=OPERATOR, filters=filters).items
    assert shown["paused_at"]
    assert shown["paused_because"] == "It answered 410: it is gone."
    assert (act["actor"], act["detail"]["because"]) == ("delivery", "410")
    assert len(receiver.received) == 1
    assert [state for state, _, _ in fates()] == ["waiting", "waiting"]


def test_what_waits_for_a_paused_endpoint_is_sent_when_it_is_resumed_or_set_apart_after_three_days(
    place,
):
    with receiving() as receiver:
        endpoint = listen(place, receiver.url)
        with connections.session() as session:
            endpoints.pause(session, actor=OPERATOR, endpoint=endpoint["id"])
        tell(endpoint, 2)
        sql("UPDATE delivery SET due_at = clock_now() - interval '73 hours'"
            " WHERE id = (SELECT min(id) FROM delivery)")  # fmt: skip
        before = deliver()
        late = connections.transaction(delivering.set_apart_paused)
        with connections.session() as session:
            endpoints.resume(session, actor=OPERATOR, endpoint=endpoint["id"])
        after = deliver()

    assert (before, late, after["delivered"]) == ({}, 1, 1)
    assert fates() == [("failed", 0, "The endpoint was paused."), ("delivered", 1, None)]


def test_the_latest_attempts_are_kept_with_their_answers(place):
    with receiving(500, 200) as receiver:
        tell(listen(place, receiver.url))
        deliver()
        now_due()
        deliver()
    [(identity,)] = sql("SELECT id::text FROM delivery")
    sql("UPDATE delivery SET answers = (SELECT jsonb_agg(one.answer) FROM (SELECT answers -> 0 AS answer"
        " FROM generate_series(1, 20)) AS one),"
        " state = 'waiting', due_at = clock_now(), ended_at = NULL")  # fmt: skip
    with connections.session() as session:
        answers = deliveries.show(session, actor=OPERATOR, delivery=identity)["answers"]
    with receiving(503) as receiver:
        sql("UPDATE endpoint SET url = :url, rests_until = NULL", url=receiver.url)
        deliver()
    with connections.session() as session:
        later = deliveries.show(session, actor=OPERATOR, delivery=identity)["answers"]

    assert [one["status"] for one in answers] == [500] * 20
    assert [one["status"] for one in later] == [500] * 19 + [503]
    assert later[-1]["error"] == "answered 503"
    assert later[-1]["at"] > later[0]["at"]
    assert 0 <= later[-1]["seconds"] < 60


def test_during_a_rotation_a_delivery_is_signed_with_both_secrets(place):
    with receiving() as receiver:
        endpoint = listen(place, receiver.url)
        with connections.session() as session:
            rotated = endpoints.rotate(session, actor=OPERATOR, endpoint=endpoint["id"])
        tell(endpoint)
        deliver()

    [request] = receiver.received
    for secret in (endpoint["secret"], rotated["secret"]):
        assert Webhook(secret).verify(request.body, request.headers)


def test_an_endpoint_is_told_in_order_on_one_connection(place):
    with receiving() as receiver:
        tell(listen(place, receiver.url), 15)
        deliver()

    assert [json.loads(r.body)["data"]["nth"] for r in receiver.received] == list(range(1, 16))
    assert receiver.connections == 1


def test_what_was_answered_500_is_sent_again_later_under_the_same_id(place):
    with receiving(500, 200) as receiver:
        tell(listen(place, receiver.url))
        deliver()
        [(waits,)] = sql("SELECT due_at > clock_now() FROM delivery")
        after_first = fates()
        now_due()
        deliver()

    first, second = receiver.received
    assert waits
    assert after_first == [("waiting", 1, "answered 500")]
    assert fates() == [("delivered", 2, None)]
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_tries_come_ever_more_slowly_with_jitter(place):
    with receiving(500) as receiver:
        tell(listen(place, receiver.url), 30)
        pauses = {}
        for attempts in (1, 5, 10, 30):
            sql("UPDATE delivery SET attempts = :n, tried_since = clock_now()", n=attempts)
            with connections.session() as session:
                ids = session.scalars(text("SELECT id FROM delivery")).all()
                retries.DELIVERIES.failed(session, dict.fromkeys(ids, "answered 500"))
            rows = sql("SELECT extract(epoch FROM due_at - clock_now()) FROM delivery")
            pauses[attempts] = [float(row[0]) for row in rows]

    for attempts, middle in ((1, 5), (5, 80), (10, 2560), (30, 21600)):
        assert middle * 0.4 < min(pauses[attempts]) < max(pauses[attempts]) <= middle * 1.5
        assert len(set(pauses[attempts])) == 30


def test_after_three_days_of_tries_a_delivery_is_set_apart(place):
    with receiving(500) as receiver:
        tell(listen(place, receiver.url))
        sql("UPDATE delivery SET happened_at = clock_now() - interval '9 days'")
        deliver()
        first = fates()
        sql("UPDATE delivery SET tried_since = clock_now() - interval '3 days'")
        now_due()
        told = deliver()
        now_due()
        deliver()

    assert first == [("waiting", 1, "answered 500")]  # an outage of ours takes none of its time
    assert fates() == [("failed", 2, "answered 500")]
    assert told["set apart"] == 1
    assert len(receiver.received) == 2


def test_a_dead_endpoint_and_a_redirecting_one_are_told_apart(place):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    with receiving() as inner, receiving(redirecting(inner.url)) as outer:
        for url in (dead, outer.url):
            tell(listen(place, url))
        deliver()

    errors = [error for _, _, error in fates()]
    assert errors == [
        "cannot be reached",
        "answered 302; redirects are not followed",
    ]
    assert inner.received == []


def test_an_address_that_resolves_to_loopback_is_refused_where_no_setting_allows_it(
    place, monkeypatch
):
    with receiving() as receiver:
        tell(listen(place, receiver.url.replace("127.0.0.1", "localhost")))
        monkeypatch.setenv("KEYPOOL_PRIVATE_ENDPOINTS", "false")
        settings.cache_clear()
        deliver()

    [(state, _, error)] = fates()
    assert (state, "its name leads to no public address" in error) == ("waiting", True)
    assert receiver.connections == 0


def test_a_slow_endpoint_holds_up_no_other(place, monkeypatch):
    """While one keeps its connection to the limit, another is told of hundreds."""
    monkeypatch.setenv("KEYPOOL_ENDPOINT_PATIENCE", "3s")
    settings.cache_clear()
    with receiving(slow(30)) as tortoise, receiving() as hare:
        tell(listen(place, tortoise.url), 50)
        tell(listen(place, hare.url), 300)
        working = threading.Thread(target=deliver)
        working.start()
        assert eventually(lambda: len(hare.received) >= 300)
        slow_ones = len(tortoise.received)
        working.join()

    assert slow_ones <= 5  # and it rests after each, so that it does not take a lane for itself
    rows = sql(
        "SELECT error, count(*) FROM delivery WHERE attempts > 0 AND state = 'waiting' GROUP BY 1"
    )
    assert [row.error for row in rows] == ["took too long"]


def test_one_message_that_always_fails_holds_up_none_behind_it(place):
    with receiving(500, 200) as receiver:
        tell(listen(place, receiver.url), 5)
        deliver()
        behind = fates()[1:]
        sql("UPDATE endpoint SET rests_until = NULL")
        deliver()

    assert behind == [("waiting", 0, None)] * 4  # not tried, and not counted as if they were
    assert [state for state, *_ in fates()[1:]] == ["delivered"] * 4


def test_an_endpoint_that_fails_rests_longer_each_time_until_it_takes_something(place):
    with receiving(500, 500, 200) as receiver:
        endpoint = listen(place, receiver.url)
        tell(endpoint)
        figures = []
        for _ in range(3):
            now_due()
            deliver()
            figures += sql("SELECT failures, rests_until IS NULL FROM endpoint")

    assert [tuple(row) for row in figures] == [(1, False), (2, False), (0, True)]


def test_one_deliverer_works_at_a_time(place):
    with receiving() as receiver:
        tell(listen(place, receiver.url))
        with connections.session() as other:
            assert locks.take(other, "delivering")
            assert deliver() == {}
        assert receiver.received == []
        assert deliver()["delivered"] == 1


KILLED = """
import time
from worker.outgoing import delivering
delivering.deliver_all(until=time.monotonic() + 60)
"""


def test_what_a_killed_deliverer_was_at_is_delivered_by_the_next(place, fresh_database):
    """SIGKILL while a receiver holds the request: the claim lapses and the message comes again."""
    with receiving(slow(30), 200) as receiver:
        tell(listen(place, receiver.url))
        environment = {
            **os.environ,
            **fresh_database.environment(),
            "KEYPOOL_ENDPOINT_PATIENCE": "60s",
        }
        with subprocess.Popen([sys.executable, "-c", KILLED], env=environment) as process:
            assert eventually(lambda: receiver.received)
            process.send_signal(signal.SIGKILL)
        held = fates()
        [(lapses,)] = sql("SELECT due_at > clock_now() FROM delivery")
        now_due()  # the claim's time is over
        assert eventually(
            lambda: sql("SELECT FROM lock WHERE name = 'delivering' FOR UPDATE SKIP LOCKED")
        )
        deliver()

    assert lapses
    assert held == [("waiting", 1, None)]
    assert fates() == [("delivered", 2, None)]
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1


def test_a_removed_endpoint_is_told_nothing(place):
    with receiving() as receiver:
        endpoint = listen(place, receiver.url)
        tell(endpoint)
        with connections.session() as session:
            endpoints.remove(session, actor=OPERATOR, endpoint=endpoint["id"])
        deliver()

    assert receiver.received == []


def test_what_was_resent_is_delivered_once_more(place):
    with receiving() as receiver:
        endpoint = listen(place, receiver.url)
        tell(endpoint, 3)
        deliver()
        with connections.session() as session:
            ids = [str(row[0]) for row in session.execute(text("SELECT min(id) FROM delivery"))]
            deliveries.resend(session, actor=OPERATOR, endpoint=endpoint["id"], deliveries=ids)
        deliver()

    names = [request.headers["webhook-id"] for request in receiver.received]
    assert names == [*names[:3], names[0]]
