"""Sending: what leaves is signed, stays the same when it is tried again, and is refused when wrong."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from standardwebhooks import Webhook

from worker import client, signatures
from worker.client import Sender
from worker.errors import InvalidInputError

SECRET = signatures.write_secret(b"s" * 32)


@contextmanager
def receiver(*answers):
    """A receiver that gives these answers in turn, the last one for ever: (status, headers, body)."""
    got, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((dict(self.headers), body))
            status, headers, answer = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/webhooks/1", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


RECORDED = (202, {}, b'{"event": "7", "status": "recorded"}')
AWAY = (503, {"retry-after": "0"}, b"{}")


def test_what_is_sent_is_signed_as_the_standard_says():
    with receiver(RECORDED) as (url, got), Sender(url, SECRET) as sender:
        answer = sender.post(client.message("redemption.requested", {"key": "K"}))

    [(headers, body)] = got
    assert Webhook(SECRET).verify(body, headers)["data"] == {"key": "K"}
    assert headers["content-type"] == "application/json"
    assert (answer.status, answer.answer["event"], answer.taken) == (202, "7", True)


def test_what_cannot_be_taken_now_is_sent_again_under_the_same_id():
    message = client.message("redemption.requested", {"key": "K"})

    with receiver(AWAY, AWAY, RECORDED) as (url, got), Sender(url, SECRET) as sender:
        answer = sender.post(message)

    assert answer.status == 202
    assert {headers["webhook-id"] for headers, _ in got} == {message.webhook_id}
    assert {body for _, body in got} == {message.body}
    assert len(got) == 3


def test_a_refusal_is_final():
    refusal = (422, {}, b'{"detail": "data.key is missing"}')

    with receiver(refusal) as (url, got), Sender(url, SECRET) as sender:
        answer = sender.post(client.message("redemption.requested", {}))

    assert (answer.status, answer.taken, len(got)) == (422, False, 1)
    assert answer.answer == {"detail": "data.key is missing"}


def test_an_answer_that_is_not_json_is_told_as_it_is():
    answers = (502, {"retry-after": "60"}, b"<h1>Oops</h1>")

    with receiver(answers) as (url, _), Sender(url, SECRET) as sender:
        answer = sender.post(client.message("training.ended", {}))

    assert answer.answer == {"detail": "<h1>Oops</h1>"}


def test_nobody_who_answers_is_reported(monkeypatch):
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.1)

    with (
        Sender("http://127.0.0.1:9/webhooks/1", SECRET) as sender,
        pytest.raises(client.ReceiverAwayError),
    ):
        sender.post(client.message("training.ended", {}))


@pytest.mark.parametrize("url", ["", "/webhooks/1", "ftp://x/webhooks/1", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InvalidInputError, match="no address to post to"):
        Sender(url, SECRET)


def test_a_secret_that_is_none_is_refused():
    with pytest.raises(InvalidInputError, match="not a signing secret"):
        Sender("http://127.0.0.1/webhooks/1", "whsec_short")


def test_words_with_dots_nest_and_only_known_ones_are_more_than_text():
    words = ["launch=1", "completed=true", "score=0.5", "a.b.c=x=y", "a.b.d="]

    made = json.loads(client.from_words("training.ended", words).body)

    assert made["type"] == "training.ended"
    assert made["timestamp"].endswith("Z")
    assert made["data"].pop("ended_at").endswith("Z")
    assert made["data"] == {
        "launch": "1", "completed": True, "score": 0.5, "a": {"b": {"c": "x=y", "d": ""}},
    }  # fmt: skip


@pytest.mark.parametrize(
    "words", [["key"], ["=x"], [".=x"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=1", "a=2"]]
)
def test_words_that_say_nothing_or_something_twice_are_refused(words):
    with pytest.raises(InvalidInputError):
        client.from_words("redemption.requested", words)


def test_a_files_events_keep_their_ids_from_one_sending_to_the_next(tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_text(
        '{"type": "a", "data": {}, "timestamp": "2026-03-01T10:00:00Z"}\n\n'
        '{"type": "b", "data": {"x": 1}, "id": "mine"}\r\n'
        '{"type": "c", "data": {}}'
    )

    first, second = list(client.from_file(file)), list(client.from_file(file))

    assert [one.type for one in first] == ["a", "b", "c"]
    assert first[0] == second[0]
    assert first[1].webhook_id == second[1].webhook_id == "mine"
    assert first[2].webhook_id != second[2].webhook_id


@pytest.mark.parametrize(
    "line", ["{", "[]", '"x"', '{"type": "a"}', '{"type": "a", "data": []}', "\xff"]
)
def test_a_line_that_is_no_event_is_named(tmp_path, line):
    file = tmp_path / "events.ndjson"
    file.write_bytes(b'{"type": "a", "data": {}}\n\n' + line.encode("latin-1") + b"\n")

    with pytest.raises(InvalidInputError, match="Line 3 is not") as refused:
        list(client.from_file(file))

    assert refused.value.line == 3


def test_many_are_posted_at_once_and_answered_in_order():
    messages = [client.message("a", {"n": n}, webhook_id=f"id-{n}") for n in range(50)]

    with receiver(RECORDED) as (url, got), Sender(url, SECRET) as sender:
        answers = list(client.send_all(sender, messages, wait=0, at_once=8))

    assert [one.webhook_id for one in answers] == [f"id-{n}" for n in range(50)]
    assert len(got) == 50


def test_waiting_for_outcomes_ends_once_it_was_in_vain():
    messages = (client.message("a", {}) for _ in range(40))

    with receiver(RECORDED) as (url, got), Sender(url, SECRET) as sender:
        list(client.send_all(sender, messages, wait=5, at_once=2))

    asked = [headers.get("prefer") for headers, _ in got]
    assert asked[0] == "wait=5"
    assert asked[-1] is None


def test_an_error_leaves_nothing_to_wait_for(monkeypatch):
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.1)
    messages = (client.message("a", {}) for _ in range(1000))
    begun = time.monotonic()

    with (
        Sender("http://127.0.0.1:9/webhooks/1", SECRET) as sender,
        pytest.raises(client.ReceiverAwayError),
    ):
        list(client.send_all(sender, messages, wait=0, at_once=4))

    assert time.monotonic() - begun < 20
