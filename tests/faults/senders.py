"""Senders that do not give up, and the history that they keep of what was acknowledged."""

import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from tests.faults.system import System, Tree
from worker import signatures
from worker.client import Message, message

RETRY_SECONDS = 180  # seconds for which a message is tried


@dataclass
class History:
    """What was acknowledged and what was refused; nothing is ever taken out of it."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # webhook id: event id
    contradicted: list[str] = field(default_factory=list)  # acknowledged as two events
    answers: Counter[int] = field(default_factory=Counter)  # status 0: nobody answered
    given_up: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, webhook_id: str, status: int, event: str | None) -> None:
        """Write down an answer."""
        with self.lock:
            self.answers[status] += 1
            taken = 200 <= status < 300
            if taken and self.acknowledged.setdefault(webhook_id, str(event)) != str(event):
                self.contradicted.append(webhook_id)

    @property
    def deliveries(self) -> int:
        """How many times a message was taken, repetitions too."""
        return sum(count for status, count in self.answers.copy().items() if 200 <= status < 300)

    @property
    def refusals(self) -> set[int]:
        """The statuses other than 2xx that were answered."""
        return {status for status in self.answers if status and not 200 <= status < 300}


class Sender:
    """One connection of a source whose clock may be wrong by `skew` seconds.

    A key that is in one of the `homes` is asked for by that tree's source.
    """

    def __init__(
        self, url: str, secret: str, skew: float = 0, homes: Mapping[str, Tree] | None = None
    ) -> None:
        self.url, self.secret, self.skew, self.homes = url, secret, skew, homes or {}
        self.client = httpx.Client(timeout=15, trust_env=False)

    def post(self, sent: Message) -> tuple[int, str | None]:
        """Post once; gives the status, 0 where nobody answered, and the event."""
        now, (url, secret) = int(time.time() + self.skew), self._way(sent)
        headers = {
            "content-type": "application/json",
            "webhook-id": sent.webhook_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signatures.sign(
                signatures.read_secret(secret), sent.webhook_id, now, sent.body
            ),
        }
        try:
            answer = self.client.post(url, content=sent.body, headers=headers)
            return answer.status_code, answer.json().get("event")
        except (httpx.TransportError, ValueError):
            return 0, None

    def _way(self, sent: Message) -> tuple[str, str]:
        home = self.homes.get(json.loads(sent.body)["data"].get("key", "")) if self.homes else None
        if home is None:
            return self.url, self.secret
        return str(httpx.URL(self.url).copy_with(path=home.path)), home.secret

    def post_until_taken(self, sent: Message, history: History) -> None:
        """Post until it is taken, or refused for good, as the documents ask of senders."""
        deadline = time.monotonic() + RETRY_SECONDS
        while time.monotonic() < deadline:
            status, event = self.post(sent)
            history.note(sent.webhook_id, status, event)
            if status and status < 500:
                return
            time.sleep(0.2)
        history.given_up.append(sent.webhook_id)


@dataclass
class Sending:
    """Messages under way, and how they fared so far."""

    history: History
    threads: list[threading.Thread]
    waiting: list[Message]  # the next one is the last
    per_second: float
    count: int

    def add(self, messages: Sequence[Message]) -> None:
        """Have more messages sent, after those that wait."""
        self.waiting[:0] = reversed(messages)
        self.count += len(messages)

    def stop(self) -> History:
        """Send nothing more, and wait until every message that is under way is taken."""
        with suppress(IndexError):
            while self.waiting.pop():
                self.count -= 1
        return self.join()

    def hurry(self) -> History:
        """Send the rest as quickly as it goes, and wait until every message is taken."""
        self.per_second = 1e9
        return self.join()

    def join(self) -> History:
        """Wait until every message is taken."""
        for thread in self.threads:
            thread.join()
        return self.history

    @property
    def done(self) -> bool:
        """Say whether nothing is under way any more."""
        return not any(thread.is_alive() for thread in self.threads)


def redemption(code: str, email: str) -> Message:
    """Make a redemption request."""
    return message("redemption.requested", {"key": code, "learner": {"email": email}})


def post_all(
    system: System,
    messages: Sequence[Message],
    *,
    senders: int = 8,
    per_second: float = 1e9,
    skews: Sequence[float] = (0,),
    history: History | None = None,
    port: int | None = None,
) -> Sending:
    """Begin to post messages from many threads, in order; each until it is taken.

    Each sender's clock is wrong by one of the `skews`. With a `port`, they go by way of that.
    """
    waiting = list(reversed(messages))
    sending = Sending(history or History(), [], waiting, per_second, len(waiting))
    url = httpx.URL(system.url).copy_with(port=port) if port else system.url

    def work(skew: float) -> None:
        sender = Sender(str(url), system.secret, skew, system.homes)
        while True:
            try:
                sent = sending.waiting.pop()
            except IndexError:
                return sender.client.close()
            began = time.monotonic()
            sender.post_until_taken(sent, sending.history)
            time.sleep(max(0.0, senders / sending.per_second - (time.monotonic() - began)))

    for number in range(senders):
        thread = threading.Thread(target=work, args=(skews[number % len(skews)],), daemon=True)
        sending.threads.append(thread)
        thread.start()
    return sending
