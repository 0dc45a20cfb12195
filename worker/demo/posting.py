"""Posting the demo's messages, and comparing actual with expected results."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from worker import client, signatures
from worker.client import Answer, Sender
from worker.database.connections import clock_now, transaction
from worker.demo import traffic, waiting
from worker.demo.traffic import Planned
from worker.demo.world import ACTOR, TREE
from worker.redemption import inbox
from worker.redemption.inbox import EventShape

CONCURRENCY = 16
PAGE = 1000


@dataclass
class Post:
    """The messages sent so far, with the receiver's answers; `since` is when the first was."""

    sender: Sender
    advance: Callable[[int], None]
    since: datetime
    planned: list[Planned] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def send(self, wave: list[Planned], *, sender: Sender | None = None) -> list[Planned]:
        """Send messages concurrently, and wait for all answers."""
        messages = (one.message for one in wave)
        self.planned += wave
        for answer in client.send_all(sender or self.sender, messages, wait=0, at_once=CONCURRENCY):
            self.answers.append(answer)
            self.advance(len(self.answers))
        return wave


def post(post: Post, url: str, shares: Counter[str], stock: traffic.Stock) -> None:
    """Send everything, in three waves: a message is sent after those that it depends on."""
    first = post.send(traffic.first(shares, stock, TREE))
    post.send(traffic.second(shares, stock, first))
    forged, *strange = traffic.at_the_door(first[0])
    post.send(strange)
    with Sender(url, signatures.write_secret(b"this is not the secret of the source")) as forger:
        post.send([forged], sender=forger)
    waiting.until_settled()
    now = transaction(clock_now).isoformat()
    post.send(traffic.third(shares, _assignments(post.since), now))
    waiting.until_settled()


def expected(planned: list[Planned]) -> Counter[str]:
    """Count the messages' expected results."""
    return Counter(one.expects for one in planned)


def happened(post: Post) -> Counter[str]:
    """Count the messages' actual results: outcomes, repeats, and statuses of refused requests."""
    results = Counter(str(answer.status) for answer in post.answers if not answer.taken)
    recorded = Counter(answer.answer["event"] for answer in post.answers if answer.taken)
    results["repeated"] = recorded.total() - len(recorded)
    return results + Counter(
        str(event["outcome"] or event["status"]) for event in _events(post.since)
    )


def _assignments(since: datetime) -> list[str]:
    granted = (event["assignment"] for event in _events(since) if event["outcome"] == "redeemed")
    return [assignment for assignment in granted if assignment]


def _events(since: datetime) -> Iterator[EventShape]:
    asked, after = inbox.Filters(since=since), None
    while True:
        page = transaction(inbox.listing, actor=ACTOR, filters=asked, after=after, limit=PAGE)
        yield from page.items
        if (after := page.next) is None:
            return
