"""Posting events as an external system does: signed, with retries until they are accepted.

This is the client of the receiver, for integrators to test with and to copy from.
"""

import hashlib
import ipaddress
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from worker import signatures
from worker.errors import InvalidInputError, KeypoolError

RETRY_SECONDS = 30  # seconds for which requests to an unreachable receiver are retried
PAUSE = 0.5  # seconds between retries, if the receiver does not say
TIMEOUT = 15  # seconds for one attempt; the receiver takes 10 at most if it is asked to wait
TRY_AGAIN = {429, 502, 503, 504}

# The values of `KEY=VALUE` words are texts, except for these.
LITERALS = {"completed", "score"}
# The field with the time of the event, which is filled in if it is missing.
HAPPENED = {"training.launched": "launched_at", "training.ended": "ended_at"}


class ReceiverAwayError(KeypoolError):
    """Nobody answers there; is keypool up, and is the address right?"""


@dataclass(frozen=True)
class Message:
    """An event to send; every retry has the same id."""

    type: str
    webhook_id: str
    body: bytes


@dataclass(frozen=True)
class Answer:
    """The receiver's answer to a message: an HTTP status and a JSON object."""

    type: str
    webhook_id: str
    status: int
    answer: dict[str, Any]

    @property
    def taken(self) -> bool:
        """Say whether the event is recorded."""
        return self.status < 300

    @property
    def decided(self) -> bool:
        """Say whether the answer has an outcome."""
        return self.taken and "outcome" in self.answer


class Sender:
    """A source's connections to its receiver, one a thread."""

    def __init__(self, url: str, secret: str) -> None:
        """Raise InvalidInputError if the URL or the secret is malformed."""
        self._url, self._secret = _address(url), signatures.read_secret(secret)
        # One client per thread: threads that shared one were seen to wait for a connection for ever.
        self._own, self._clients = threading.local(), list[httpx.Client]()

    def __enter__(self) -> Self:
        """Give the sender itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        for client in self._clients:
            client.close()

    def post(self, message: Message, *, wait: int = 0) -> Answer:
        """Post a message, with retries until the answer is final; `wait` asks to wait for the outcome.

        Raises:
            ReceiverAwayError: nobody answered within 30 seconds.
        """
        until = time.monotonic() + RETRY_SECONDS
        while True:
            response = self._try(message, wait)
            pause = _pause(response)
            if pause is None or time.monotonic() + pause > until:
                break
            time.sleep(pause)
        if response is None:
            raise ReceiverAwayError
        return Answer(message.type, message.webhook_id, response.status_code, _object(response))

    def _try(self, message: Message, wait: int) -> httpx.Response | None:
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message.webhook_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signatures.sign(
                self._secret, message.webhook_id, now, message.body
            ),
        }
        if wait:
            headers["prefer"] = f"wait={wait}"
        try:
            return self._client().post(self._url, content=message.body, headers=headers)
        except httpx.TransportError:
            return None

    def _client(self) -> httpx.Client:
        if not hasattr(self._own, "client"):
            # Do not use the environment's proxy to reach this machine.
            proxied = not _is_this_machine(self._url)
            self._own.client = httpx.Client(timeout=TIMEOUT, trust_env=proxied)
            self._clients.append(self._own.client)
        client: httpx.Client = self._own.client
        return client


def message(
    type_: str, data: dict[str, Any], *, webhook_id: str | None = None, timestamp: str | None = None
) -> Message:
    """Make a message; by default with a new id and the current time."""
    body = {"type": type_, "timestamp": timestamp or _now(), "data": data}
    return Message(
        type_,
        webhook_id or f"msg_{secrets.token_hex(16)}",
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def from_words(type_: str, words: Iterable[str]) -> Message:
    """Make a message from `KEY=VALUE` words, such as `learner.email=ann@example.org`.

    Raises:
        InvalidInputError: a word has no `=`, or two words set the same field.
    """
    data: dict[str, Any] = {}
    for word in words:
        path, equals, value = word.partition("=")
        if not equals or not path.strip("."):
            raise InvalidInputError(f"“{word}” is not KEY=VALUE, such as key=K7QM-….", field="data")
        _put(data, path.split("."), _literal(value) if path in LITERALS else value, word)
    if type_ in HAPPENED:
        data.setdefault(HAPPENED[type_], _now())
    return message(type_, data)


def from_file(path: Path) -> Iterator[Message]:
    """Read messages, one JSON object per line: `type`, `data`, and optionally `timestamp` and `id`.

    A line with a timestamp and no id always gets the same id, so that sending a file again is
    idempotent.

    Raises:
        InvalidInputError: a line is not a message; the error has its number.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _from_line(line.strip(), number)


def send_all(
    sender: Sender, messages: Iterable[Message], *, wait: int, at_once: int
) -> Iterator[Answer]:
    """Post messages concurrently, and give their answers in order.

    After the first answer without an outcome, it waits for no more outcomes: nobody settles there.
    """
    under_way: deque[Future[Answer]] = deque()
    with ThreadPoolExecutor(at_once) as threads:
        try:
            for one in messages:
                under_way.append(threads.submit(sender.post, one, wait=wait))
                if len(under_way) >= 2 * at_once:
                    answer = under_way.popleft().result()
                    wait = wait if answer.decided or not answer.taken else 0
                    yield answer
            while under_way:
                yield under_way.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _from_line(line: bytes, number: int) -> Message:
    try:
        document = json.loads(line)
    except ValueError:
        raise InvalidInputError(f"Line {number} is not a JSON object.", line=number) from None
    if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
        raise InvalidInputError(
            f'Line {number} is not an event; write {{"type": "…", "data": {{…}}}}.', line=number
        )
    timestamp: str | None = document.get("timestamp")
    lasting = hashlib.sha256(line).hexdigest()[:32] if timestamp else None
    return message(
        str(document.get("type")),
        document["data"],
        webhook_id=str(document["id"]) if document.get("id") else lasting,
        timestamp=timestamp,
    )


def _put(data: Any, path: list[str], value: Any, word: str) -> None:
    first, *rest = path
    if not isinstance(data, dict) or (first in data and not rest):
        raise InvalidInputError(f"“{word}” says something twice.", field="data")
    if rest:
        _put(data.setdefault(first, {}), rest, value, word)
    else:
        data[first] = value


def _literal(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _pause(response: httpx.Response | None) -> float | None:
    """Give the seconds to wait before a retry; None if the answer is final."""
    if response is None:
        return PAUSE
    if response.status_code not in TRY_AGAIN:
        return None
    retry_after = response.headers.get("retry-after", "")
    return float(retry_after) if retry_after.isdecimal() else PAUSE


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {"detail": response.text[:200]}
    return document if isinstance(document, dict) else {"detail": response.text[:200]}


def _address(url: str) -> str:
    try:
        read = httpx.URL(url)
    except httpx.InvalidURL:
        read = httpx.URL()
    if read.scheme not in ("http", "https") or not read.host:
        raise InvalidInputError(
            f"“{url}” is no address to post to; write http://127.0.0.1:8080/webhooks/1.",
            field="url",
        )
    return url


def _is_this_machine(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _now() -> str:
    """Give the sender's time, as the receiver expects it."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
