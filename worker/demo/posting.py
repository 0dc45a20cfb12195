"""Posting the demo's messages, and comparing actual with expected results."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worker import client, signatures
from worker.client import Answer, Sender
from worker.database.connections import clock_now, transaction
from worker.demo import traffic, waiting
from worker.demo.traffic import Planned
from worker.demo.world import ACTOR, TREE
from worker.learning import assignments
from worker.redemption import inbox

CONCURRENCY = 16
PAGE = 1000


@dataclass
class Post:
    """The messages sent so far, with the receiver's answers."""

    sender: Sender
    advance: Callable[[int], None]
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
    post.send(traffic.third(shares, _assignments(), now))
    waiting.until_settled()


def expected(planned: list[Planned]) -> Counter[str]:
    """Count the messages' expected results."""
    return Counter(one.expects for one in planned)


def happened(answers: list[Answer]) -> Counter[str]:
    """Count the messages' actual results: outcomes, repeats, and statuses of refused requests."""
    results = Counter(str(answer.status) for answer in answers if not answer.taken)
    recorded = Counter(answer.answer["event"] for answer in answers if answer.taken)
    results["repeated"] = recorded.total() - len(recorded)
    return results + _outcomes()


def _outcomes() -> Counter[str]:
    outcomes, page = Counter[str](), _events(None)
    while True:
        outcomes.update(str(event["outcome"] or event["status"]) for event in page.items)
        if page.next is None:
            return outcomes
        page = _events(page.next)


def _events(after: str | None) -> Any:
    return transaction(inbox.listing, actor=ACTOR, after=after, limit=PAGE)


def _assignments() -> list[str]:
    held = transaction(assignments.listing, actor=ACTOR, limit=PAGE)
    return [item["id"] for item in held.items]
