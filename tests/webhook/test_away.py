"""The database or the broker is cut off or frozen: nothing is promised that is not kept."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import make_url, text

from tests import upgrading
from tests.conftest import Addresses, cloned, using
from tests.webhook.conftest import Place, Sender, over, redemption
from tests.webhook.weather import Line, line
from tests.world import build
from webhook import create_app
from worker import broker, tasks
from worker.celery import broker_url
from worker.database import connections as databases
from worker.database import patience, revisions
from worker.database.connections import Login

SLOW = 2.2  # seconds that a server on a busy machine may take to let the web in


@pytest.fixture(scope="module")
def to_database(servers: Addresses) -> Iterator[Line]:
    url = make_url(servers.receiver_database_url or servers.web_database_url)
    host = str(url.query.get("host") or url.host)
    port = int(str(url.query.get("port") or url.port or 5432))
    with line(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)) as laid:
        yield laid


@pytest.fixture(scope="module")
def place(servers: Addresses, template: str, to_database: Line, to_broker: Line) -> Iterator[Place]:
    with cloned(servers, template) as addresses:
        web = make_url(addresses.web_database_url).difference_update_query(["host", "port"])
        web = web.set(host="127.0.0.1", port=to_database.port)
        through = web.render_as_string(hide_password=False)
        lines = replace(
            addresses,
            web_database_url=through,
            receiver_database_url=through if addresses.receiver_database_url else "",
            redis_url=over(to_broker, addresses.redis_url),
        )
        with using(lines), create_app().test_client() as client:
            forget_broker()
            with databases.session() as session:
                world = build(session)
            yield Place(world, client)
            forget_broker()


@pytest.fixture(autouse=True)
def left_behind() -> Iterator[None]:
    """Close the web's connections, which a test may have cut: the next one would meet them."""
    yield
    for login in databases.WEBS:
        databases.engine(login).dispose()


def forget_broker() -> None:
    broker.client.cache_clear()
    tasks.app.conf.broker_url = broker_url()
    tasks.app._after_fork()  # lets go of its connections


@pytest.fixture
def sender(place: Place) -> Sender:
    found = place.sender()
    answer = found.post(redemption())
    assert answer.status_code == 202, answer.json
    return found


def recorded(sender: Sender) -> int:
    with databases.session() as session:
        return session.execute(
            text("SELECT count(*) FROM event WHERE source_id = :id"), {"id": sender.source}
        ).scalar_one()


def timed(sender: Sender, webhook_id: str | None = None) -> tuple[int, float, dict[str, str]]:
    begun = time.monotonic()
    answer = sender.post(redemption(), webhook_id=webhook_id)
    return answer.status_code, time.monotonic() - begun, dict(answer.headers)


def test_a_database_that_is_away_is_answered_503_and_nothing_is_recorded(sender, to_database):
    to_database.cut()

    status, seconds, headers = timed(sender)

    to_database.mend()
    assert status == 503
    assert int(headers["Retry-After"]) > 0
    assert seconds < 5
    assert recorded(sender) == 1
    assert timed(sender)[0] == 202


@pytest.mark.parametrize("connection", ["fresh", "idle", "none"])
def test_a_database_that_hangs_is_answered_503_within_five_seconds_and_a_retry_counts_once(
    sender, to_database, connection, monkeypatch
):
    _, usual, _ = timed(sender)  # on a busy machine, what the web itself does takes longer
    if connection == "idle":
        monkeypatch.setattr(patience, "FRESH", -1.0)
    if connection == "none":
        databases.engine(Login.RECEIVER).dispose()
    to_database.freeze()

    status, seconds, _ = timed(sender, "msg_late")

    to_database.thaw()  # what was on its way may still arrive, and be recorded after the 503
    assert status == 503
    assert seconds < 5 + 4 * usual
    assert timed(sender, "msg_late")[0] == 202
    assert recorded(sender) == 3


def test_a_database_that_is_slow_to_take_a_connection_is_waited_for(sender, to_database):
    databases.engine(Login.RECEIVER).dispose()
    to_database.freeze()
    thaw = threading.Timer(SLOW, to_database.thaw)
    thaw.start()

    status, *_ = timed(sender)

    thaw.join()
    assert status == 202
    assert recorded(sender) == 2


def test_connections_that_died_meanwhile_are_not_felt(sender, to_database, monkeypatch):
    monkeypatch.setattr(patience, "FRESH", -1.0)

    to_database.cut()
    to_database.mend()

    assert timed(sender)[0] == 202


@pytest.mark.parametrize("trouble", ["cut", "freeze"])
def test_a_broker_that_is_away_costs_a_moment_and_no_message(sender, to_broker, trouble):
    _, usual, _ = timed(sender)
    tasks._asked_in_vain = -tasks.AWAY  # it was there, as far as anybody knows
    getattr(to_broker, trouble)()

    first, second = timed(sender), timed(sender)

    getattr(to_broker, {"cut": "mend", "freeze": "thaw"}[trouble])()
    assert [status for status, *_ in (first, second)] == [202, 202]
    assert first[1] < 0.7 + 4 * usual
    assert second[1] < 0.2 + 4 * usual
    assert recorded(sender) == 4


def test_readiness_tells_of_the_database_and_of_the_broker(place, to_database, to_broker):
    to_broker.cut()
    without_broker = place.client.get("/readyz")
    to_database.cut()
    without_both = place.client.get("/readyz")
    alive = place.client.get("/healthz")
    to_database.mend()
    to_broker.mend()

    assert (without_broker.status_code, without_broker.json["broker"]) == (200, {"ok": False})
    assert (without_both.status_code, without_both.json["database"]) == (503, {"ok": False})
    assert alive.status_code == 200


def test_metrics_tell_of_a_database_and_of_a_broker_that_are_away(place, to_database, to_broker):
    to_database.cut()
    to_broker.cut()

    told = place.client.get("/metrics")

    to_database.mend()
    to_broker.mend()
    assert told.status_code == 200
    assert "keypool_database_up 0.0" in told.text
    assert "keypool_broker_up 0.0" in told.text
    assert "keypool_database_up 1.0" in place.client.get("/metrics").text


@pytest.mark.parametrize(
    ("revision", "oldest_code", "told"),
    [
        ("0001", "0001", f"at revision 0001 and this keypool needs {revisions.CODE}; run"),
        ("9999", "9998", "at revision 9999, which needs a keypool of revision 9998 or newer"),
    ],
)
def test_readiness_refuses_a_database_that_does_not_fit_and_names_both(
    fresh_database, revision, oldest_code, told
):
    client = create_app().test_client()  # as what runs on while somebody else migrates
    upgrading.pretend(revision, oldest_code=oldest_code)

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json["ok"], answer.json["database"]) == (
        503,
        False,
        {"ok": True},
    )
    schema = answer.json["schema"]
    assert (schema["ok"], schema["revision"], schema["code"]) == (False, revision, revisions.CODE)
    assert told in schema["message"]


def test_readiness_bears_a_newer_database_that_says_so(fresh_database):
    client = create_app().test_client()
    upgrading.pretend("9999", oldest_code=revisions.CODE)

    answer = client.get("/readyz")

    assert answer.status_code == 200
    schema = answer.json["schema"]
    assert (schema["ok"], schema["revision"], schema["code"]) == (True, "9999", revisions.CODE)
    assert schema["message"] is None
