"""How the server's requests become the app's, and what is refused before the app sees it."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from webhook import serving
from webhook.http import headers
from webhook.serving import Served

SCOPE = {
    "method": "POST",
    "scheme": "http",
    "http_version": "1.1",
    "raw_path": b"/keys/%C3%A9%2Fx",
    "query_string": b"a=1",
    "server": ("127.0.0.1", 8080),
    "client": ("192.0.2.1", 50_000),
    "headers": [],
}


def echo(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


def asked(app: Any, *, headers: list[tuple[bytes, bytes]], pieces: Iterable[bytes]) -> Any:
    """Send one request in pieces; gives the status and the body's pieces."""
    left = [*pieces]
    sent: list[Any] = []

    async def receive() -> Any:
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(SCOPE | {"headers": headers}, receive, send))
    return sent[0]["status"], [message["body"] for message in sent[1:]]


def test_a_short_body_is_given_whole():
    headers = [(b"content-length", b"6")]

    assert asked(Served(echo), headers=headers, pieces=[b"abc", b"def"]) == (200, [b"abcdef"])


def test_a_long_body_is_a_stream(monkeypatch):
    monkeypatch.setattr(serving, "SHORT", 4)
    headers = [(b"content-length", b"6")]

    assert asked(Served(echo), headers=headers, pieces=[b"abc", b"def"]) == (200, [b"abcdef"])


def test_an_endless_body_is_read_no_further_than_shows_that_it_is_too_long(monkeypatch):
    monkeypatch.setattr(serving, "SHORT", 4)
    headers = [(b"transfer-encoding", b"chunked")]

    answer = asked(Served(echo), headers=headers, pieces=[b"abc", b"def", b"ghi"])

    assert answer == (200, [b"abcdef"])


@pytest.mark.parametrize("bound", ["MOST_READING", "MOST_BYTES"])
def test_beyond_a_bound_of_bodies_on_their_way_others_are_told_to_try_again(monkeypatch, bound):
    monkeypatch.setattr(serving, bound, 0)

    status, _ = asked(Served(echo), headers=[(b"content-length", b"6")], pieces=[b"abc", b"def"])

    assert status == 503


def test_what_is_refused_before_the_app_sees_it_has_the_headers_of_every_answer(monkeypatch):
    monkeypatch.setattr(serving, "MOST_READING", 0)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    named = SCOPE | {"headers": [(b"content-length", b"6")]}
    asyncio.run(Served(echo)(named, None, send))

    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert sent[0]["status"] == 503
    assert told.items() >= {name.lower(): value for name, value in headers.STRICT.items()}.items()


def test_bodies_that_came_or_broke_off_do_not_count_towards_the_bounds(monkeypatch):
    monkeypatch.setattr(serving, "MOST_READING", 1)
    monkeypatch.setattr(serving, "MOST_BYTES", 6)
    served, headers = Served(echo), [(b"content-length", b"6")]

    broken, _ = asked(served, headers=headers, pieces=[])
    first = asked(served, headers=headers, pieces=[b"abc", b"def"])
    second = asked(served, headers=headers, pieces=[b"abc", b"def"])

    assert broken == 400
    assert first == second == (200, [b"abcdef"])


def test_an_answer_in_pieces_is_sent_piece_by_piece():
    def app(_environ, start):
        start("200 OK", [])
        return iter([b"a", b"b", b"c"])

    assert asked(app=Served(app), headers=[], pieces=[b""]) == (200, [b"a", b"b", b"c", b""])


def test_the_app_sees_a_request_as_wsgi_has_it():
    seen: dict[str, Any] = {}

    def app(environ, start):
        seen.update(environ)
        return echo(environ, start)

    headers = [
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-forwarded-for", b"192.0.2.7"),
        (b"x_forwarded_for", b"127.0.0.1"),  # would pass for the one above
        (b"content-type", b"text/plain"),
    ]
    asked(Served(app), headers=headers, pieces=[b""])

    assert seen["PATH_INFO"] == "/keys/é/x".encode().decode("latin-1")
    assert seen["QUERY_STRING"] == "a=1"
    assert seen["REMOTE_ADDR"] == "192.0.2.1"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert seen["HTTP_X_FORWARDED_FOR"] == "192.0.2.7"
    assert seen["CONTENT_TYPE"] == "text/plain"
