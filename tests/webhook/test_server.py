"""The app as it is served: granian, in processes of its own, over real HTTP."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import psutil
import pytest
from sqlalchemy import text

from tests import upgrading
from tests.conftest import Addresses
from tests.waiting import LONGEST, eventually
from tests.webhook.conftest import Sender, redemption, settle
from tests.webhook.serving import Server, serving
from tests.world import OPERATOR
from worker import signatures
from worker.database import connections as databases
from worker.redemption import sources
from worker.tenancy.actors import Role


@pytest.fixture(scope="module")
def server(database: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(database, tmp_path_factory.mktemp("web"), workers=2) as running:
        yield running


def test_messages_are_received_and_told_of_over_http(server, place, sender):
    [key] = place.keys()
    headers = place.token(Role.SENDER)

    answer = server.post(sender, redemption(key))
    settle()
    event = httpx.get(server.url + answer.json()["url"], headers=headers)

    assert answer.status_code == 202
    assert event.json()["outcome"] == "redeemed"


def test_a_body_without_a_length_is_bounded_too(server, sender):
    pieces = (b"x" * 1024 for _ in range(65))
    headers = {"Content-Type": "application/json"}

    answer = httpx.post(server.url + sender.path, content=pieces, headers=headers)

    assert answer.status_code == 413


def test_a_server_outlives_whoever_sends_without_end(server, sender):
    endless = (b"x" * 65_536 for _ in range(1000))
    with suppress(httpx.TransportError):
        httpx.post(server.url + sender.path, content=endless)

    assert server.post(sender, redemption()).status_code == 202


def recorded(sender: Sender) -> int:
    """Count a sender's messages that are recorded."""
    question = text("SELECT count(*) FROM event WHERE source_id = :id")
    with databases.session() as session:
        return session.execute(question, {"id": sender.source}).scalar_one()


def test_32_requests_wait_at_once_and_others_are_still_served(server, place, sender):
    answers: list[httpx.Response] = []

    def wait(n: int, key: str) -> None:
        message = redemption(key, f"waits-{n}@example.com")
        answers.append(server.post(sender, message, Prefer="wait=10"))

    threads = [threading.Thread(target=wait, args=sent) for sent in enumerate(place.keys(32))]
    for thread in threads:
        thread.start()
    assert eventually(lambda: recorded(sender) == 32)

    other = server.post(sender, redemption("OTHER-UNKNOWN"))
    still_waiting = not answers

    settle()
    for thread in threads:
        thread.join()
    assert other.status_code == 202
    assert still_waiting
    assert {answer.status_code for answer in answers} == {200}


def test_a_server_told_to_stop_ends_what_it_began_and_leaves(database, place, sender, tmp_path):
    with serving(database, tmp_path) as server:
        answers: list[httpx.Response] = []
        slow = threading.Thread(
            target=lambda: answers.append(server.post(sender, redemption(), Prefer="wait=10"))
        )
        slow.start()
        assert eventually(lambda: recorded(sender) == 1)

        server.process.send_signal(signal.SIGTERM)
        settle()

        slow.join()
        assert [answer.status_code for answer in answers] == [200]
        assert server.process.wait(timeout=LONGEST) == 0


def test_a_web_process_that_refuses_a_too_new_database_ends_the_server_with_a_sentence(
    fresh_database, tmp_path
):
    with serving(fresh_database, tmp_path, workers=2) as server:
        upgrading.pretend("9999", oldest_code="9998")

        psutil.Process(server.process.pid).children()[0].kill()

        assert server.process.wait(timeout=LONGEST) == 1
        log = server.log.read_text()
        assert "needs a keypool of revision 9998 or newer" in log
        assert "Traceback" not in log


def test_no_log_line_carries_a_key_an_address_or_a_secret(server, place, sender):
    [key] = place.keys()
    email = "canary.learner@example.com"
    token = place.token(Role.MANAGER)
    headers = {"headers": token, "timeout": 15}
    secret = signatures.write_secret(sender.secret)
    with databases.session() as session:
        fresh = sources.add(
            session, actor=OPERATOR, name=f"canary {key}", organization=str(place.world.parent)
        )["secret"]

    server.post(sender, redemption(key, email), webhook_id="canary-1")
    server.post(sender, redemption(key, email), webhook_id="canary-2")
    server.post(sender, redemption(key, "not an address " + email))
    server.post(sender, {"type": key, "data": email})
    httpx.post(server.url + sender.path, content=f"{key} {email} {secret}", **headers)
    httpx.post(server.url + f"/webhooks/{key}", content=b"{}", **headers)
    settle()
    for path in (
        f"/api/v1/learners/{email}",
        f"/api/v1/keys/{key}",
        f"/api/v1/assignments?learner={email}",
        f"/api/v1/redemptions?learner={email}&key={key}",
        f"/{key}/{email}/{secret}",
    ):
        httpx.get(server.url + path, **headers)
    httpx.patch(server.url + f"/api/v1/learners/{email}", json={"email": f"no {key}"}, **headers)

    log = server.log.read_text()
    canaries = [key, email, secret, fresh, token["Authorization"].split()[1], "v1,"]
    assert [canary for canary in canaries if canary in log] == []
    assert '"route": "/webhooks/<source>"' in log


def test_logs_are_json_one_line_an_event(server, sender):
    server.post(sender, redemption())

    lines = [
        json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")
    ]
    requests = [line for line in lines if line["event"] == "request"]
    assert {"method", "route", "status", "milliseconds", "timestamp", "level"} <= set(requests[-1])


def test_an_upload_that_breaks_off_adds_no_key(server, place):
    token = place.token(Role.MANAGER)["Authorization"]
    head = (
        f"POST /api/v1/pools/{place.world.pool}/keys HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {token}\r\nContent-Type: text/plain\r\n"
    )
    lengths = ["Content-Length: 1000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n100\r\n"]

    for number, length in enumerate(lengths):
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as line:
            line.sendall(f"{head}{length}BROKEN-OFF-{number}\r\nBROKEN-OFF-KEY".encode())
            time.sleep(0.3)
    assert eventually(
        lambda: server.log.read_text().count('"route": "/api/v1/pools/<pool>/keys"') == 2
    )

    with databases.session() as session:
        added = session.scalars(text("SELECT code FROM key WHERE code LIKE 'BROKEN%'")).all()
    assert added == []
