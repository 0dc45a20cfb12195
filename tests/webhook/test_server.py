"""The app as it is served: granian, in processes of its own, over real HTTP."""

import json
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import httpx
import psutil
import pytest
from sqlalchemy import text

from tests import upgrading
from tests.conftest import Addresses
from tests.waiting import LONGEST, eventually
from tests.webhook.conftest import Place, Sender, redemption, settle
from tests.webhook.serving import CLIENT, Server, serving
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


def test_requests_of_all_processes_are_in_one_scrape(server):
    def counted() -> float:
        line = 'keypool_http_requests_total{method="GET",route="/openapi.json",status="200"} '
        told = CLIENT.get(server.url + "/metrics").text.splitlines()
        return sum(float(one.removeprefix(line)) for one in told if one.startswith(line))

    before = counted()

    for _ in range(20):  # of two processes, each answers some
        assert CLIENT.get(server.url + "/openapi.json").status_code == 200

    assert eventually(lambda: counted() == before + 20)


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


def head(path: str, length: str, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", length, *map(": ".join, headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def opened(server: Server, start: bytes) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    line.sendall(start)
    return line


NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("lengths", "body", "statuses"),
    [
        # The length counts for nothing beside the chunks, and nothing is read behind them.
        (["Content-Length: 4", "Transfer-Encoding: chunked"], b"0\r\n\r\n", [401]),
        (["Content-Length: 2", "Content-Length: 40"], b"{}", [400]),
        (["Content-Length: +2"], b"{}", [400]),
        (["Transfer-Encoding: xchunked"], b"0\r\n\r\n", [400]),
        (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n", [400]),
        (["Transfer-Encoding : chunked"], b"0\r\n\r\n", [400]),
        (["X: a", " Transfer-Encoding: chunked", "Content-Length: 2"], b"{}", [400]),
        (["Transfer-Encoding: chunked"], b"0x2\r\n{}\r\n0\r\n\r\n", [400]),
    ],
)
def test_a_request_with_two_lengths_is_not_taken_for_two_requests(
    server, sender, lengths, body, statuses
):
    start = head(sender.path, "\r\n".join(lengths), **{"Content-Type": "application/json"})

    with opened(server, start + body + NEXT) as line:
        line.settimeout(LONGEST)
        told = b"".join(iter(lambda: line.recv(65_536), b""))

    assert [int(one) for one in re.findall(rb"HTTP/1.1 (\d+) ", told)] == statuses


def hanging(sender: Sender, place: Place) -> list[bytes]:
    """Give the beginnings of requests, each with a byte of its body, such as anybody may send."""
    token = place.token(Role.MANAGER)
    table = token | {"Content-Type": "text/plain"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    json_ = {"Content-Type": "application/json"}
    keys = f"/api/v1/pools/{place.world.pool}/keys"
    return [
        head(sender.path, "Content-Length: 1000", **json_) + b"{",
        head(sender.path, "Transfer-Encoding: chunked", **json_) + b"10\r\n{",
        head("/console/sign-in", "Content-Length: 1000", **form) + b"e",
        head("/api/v1/pools", "Content-Length: 1000", **token, **json_) + b"{",
        head(keys, "Content-Length: 1000", **table) + b"K",
    ]


def test_health_and_webhooks_are_answered_while_500_bodies_hang(
    database, place, sender, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_BODY_DEADLINE", "600s")
    with serving(database, tmp_path) as server:
        lines = [opened(server, start) for start in hanging(sender, place) * 100]

        alive = httpx.get(server.url + "/healthz", timeout=60)
        answer = server.post(sender, redemption())
        answered, _, _ = select.select(lines, [], [], 0)

        assert (alive.status_code, answer.status_code) == (200, 202)
        assert answered == []
        for line in lines:
            line.close()


def test_a_connection_whose_body_does_not_come_is_closed(
    database, place, sender, tmp_path, monkeypatch
):
    token = place.token(Role.MANAGER) | {"Content-Type": "text/plain"}
    long = head(f"/api/v1/pools/{place.world.pool}/keys", "Content-Length: 2000000", **token)
    monkeypatch.setenv("KEYPOOL_BODY_DEADLINE", "1s")
    with serving(database, tmp_path) as server:
        lines = [opened(server, start) for start in [*hanging(sender, place), long + b"K"]]

        answers = [b"".join(iter(partial(line.recv, 65_536), b"")) for line in lines]

        assert [answer.split()[1] for answer in answers] == [b"408"] * 5 + [b"400"]
        assert all(b"body_timeout" in answer for answer in answers[:5])


def test_a_body_byte_by_byte_has_no_longer_than_one_at_once(
    database, sender, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEYPOOL_BODY_DEADLINE", "1s")
    with serving(database, tmp_path) as server:
        line = opened(server, head(sender.path, "Content-Length: 100000"))
        for _ in range(100_000):
            line.sendall(b" ")
            if select.select([line], [], [], 0.05)[0]:
                break

        assert line.recv(65_536).split()[1] == b"408"


def test_60_wrong_sign_ins_at_once_leave_webhooks_at_202(server, sender):
    with httpx.Client(base_url=server.url, timeout=600) as browser:
        page = browser.get("/console/sign-in").text
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        cookies = dict(browser.cookies)

    def sign_in(n: int) -> int:
        form = {"email": f"nobody-{n}@example.com", "password": "wrong", "csrf_token": token[1]}
        with httpx.Client(base_url=server.url, timeout=600, cookies=cookies) as browser:
            return browser.post("/console/sign-in", data=form).status_code

    with ThreadPoolExecutor(60) as threads:
        tried = [threads.submit(sign_in, n) for n in range(60)]
        posted = [server.post(sender, redemption()).status_code for _ in range(20)]
        refused = {one.result() for one in tried}

    assert set(posted) == {202}
    assert refused <= {422, 429, 503}


def test_an_upload_that_breaks_off_adds_no_key(server, place):
    token = place.token(Role.MANAGER) | {"Content-Type": "text/plain"}
    path = f"/api/v1/pools/{place.world.pool}/keys"
    lengths = ["Content-Length: 1000", "Content-Length: 2000000", "Transfer-Encoding: chunked"]
    before = server.log.read_text().count('"request broken off"')

    for number, length in enumerate(lengths):
        size = b"100\r\n" if "chunked" in length else b""
        body = size + f"BROKEN-OFF-{number}\r\nBROKEN-OFF-KEY".encode()
        with opened(server, head(path, length, **token) + body):
            time.sleep(0.3)
    assert eventually(lambda: server.log.read_text().count('"request broken off"') == before + 2)
    assert eventually(lambda: '"route": "/api/v1/pools/<pool>/keys"' in server.log.read_text())

    with databases.session() as session:
        added = session.scalars(text("SELECT code FROM key WHERE code LIKE 'BROKEN%'")).all()
    assert added == []


def test_a_long_upload_is_read_whole(server, place):
    keys = [f"LONG-UPLOAD-{number:06}" for number in range(100_000)]  # 1.9 MB
    headers = place.token(Role.MANAGER) | {"Content-Type": "text/plain"}

    answer = httpx.post(
        f"{server.url}/api/v1/pools/{place.world.pool}/keys?dry_run=true",
        content="\n".join(keys),
        headers=headers,
        timeout=600,
    )

    assert answer.json()["added"] == len(keys)
