"""The main job from end to end, on a scratch system.

Servers, worker, scheduler and web are the real ones; webhooks are signed and posted over HTTP. The
expected result of each message is known before it is sent, and compared with the actual one.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from worker import reporting, tasks
from worker.audit import auditing
from worker.audit.auditing import CheckShape
from worker.billing import documents, invoices, runs
from worker.client import Sender
from worker.database.connections import session, transaction
from worker.demo import posting, scratch, traffic, waiting, world
from worker.demo.posting import Post
from worker.demo.world import ACTOR
from worker.learning import expiring
from worker.pools import batches, exporting
from worker.pools.batches import BatchShape
from worker.reporting import keeping
from worker.settings import settings

__all__ = ["Bar", "DemoResult", "run"]

# Makes a progress display, from a total and a description.
Bar = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]

LATER = timedelta(days=40)  # so that every month that has begun is closed


@dataclass
class DemoResult:
    """What happened: outcomes and other counts, rates, the audit's result, files to open."""

    expected: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    figures: dict[str, int] = field(default_factory=dict)
    per_second: dict[str, int] = field(default_factory=dict)
    checks: list[CheckShape] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Say whether all results are as expected, and the ledger holds."""
        return self.expected == self.happened and all(check["ok"] for check in self.checks)


def run(
    *, keys_wanted: int, redemptions: int, folder: Path, bar: Bar, tell: Callable[[str], None]
) -> DemoResult:
    """Run the demo, write its files into a folder, and give what happened.

    Nothing of its system is left, however it ends.

    Raises:
        InvalidInputError: there are too few redemptions, or too few keys for them.
        KeypoolError: servers or services do not start, or are stuck.
    """
    shares = traffic.parts(redemptions)
    key_counts, result = world.needs(keys_wanted, shares), DemoResult()
    folder.mkdir(parents=True, exist_ok=True)
    tell("Starting PostgreSQL, Redis, a worker, the scheduler and the web.")
    with scratch.system() as home, scratch.services(home) as url:
        tell("They are up.")
        source = transaction(world.found)
        _make_keys(result, key_counts, bar)
        tell(f"{keys_wanted:,} keys are made: typed, pasted and generated.")
        with bar(redemptions, "Posting webhooks") as advance:
            _post(result, url + source["url"], source["secret"], shares, key_counts, advance)
        tell(f"{redemptions:,} signed webhooks are received and settled.")
        _pass_time(result)
        tell(f"{LATER.days} days have passed: access ran out, and the closed month is billed.")
        _hand_out(result, key_counts, folder)
        tell("The report, the keys and the invoices are written.")
        result.checks = transaction(auditing.audit)["checks"]
        tell("The ledger is audited.")
    return result


def _make_keys(result: DemoResult, key_counts: dict[str, int], bar: Bar) -> None:
    reports = transaction(world.type_and_paste, key_counts=key_counts)
    begun, made = time.monotonic(), transaction(world.generate, key_counts=key_counts)
    ids = [batch["id"] for batch in made] + [r["batch"] for r in reports if r["batch"]]
    tasks.nudge("work_batches")
    total = sum(key_counts.values())
    with bar(total, "Making keys") as advance:
        for unfinished in waiting.during(lambda: _unfinished(ids)):
            advance(total - sum(batch["requested"] - batch["worked"] for batch in unfinished))
        advance(total)
    generated = sum(batch["requested"] for batch in made)
    result.per_second["keys generated"] = _rate(generated, begun)
    result.figures["keys"] = total
    transaction(world.withdraw, key_counts=key_counts)


def _unfinished(ids: list[str]) -> list[BatchShape]:
    shown = [transaction(batches.show, actor=ACTOR, batch=batch) for batch in ids]
    return [batch for batch in shown if not batch["finished_at"]]


def _post(
    result: DemoResult,
    url: str,
    secret: str,
    shares: Counter[str],
    key_counts: dict[str, int],
    advance: Callable[[int], None],
) -> None:
    begun = time.monotonic()
    with Sender(url, secret) as sender:
        post = Post(sender, advance)
        posting.post(post, url, shares, world.stock(key_counts, shares.total()))
    result.figures["races for one key, with one winner each"] = shares["raced"]
    result.per_second["webhooks received and settled"] = _rate(len(post.answers), begun)
    result.expected, result.happened = (
        posting.expected(post.planned),
        posting.happened(post.answers),
    )


def _pass_time(result: DemoResult) -> None:
    with scratch.later(LATER):
        result.figures["assignments expired"] = expiring.expire_all(limit=settings().expiry_chunk)
        billed = runs.run(actor=ACTOR, finalize=True, then=keeping.ask_after)
    result.figures["charges billed"] = billed.charges
    result.figures["invoices finalized"] = len(billed.finalized)


def _hand_out(result: DemoResult, key_counts: dict[str, int], folder: Path) -> None:
    """Write the report, the keys of the largest pool, and every invoice."""
    result.files["report"] = folder / "redemptions.html"
    reporting.run("redemptions", output=result.files["report"], actor=ACTOR)
    with session(snapshot=True) as opened:
        begun, result.files["keys"] = time.monotonic(), folder / "spring-intake-keys.csv"
        with result.files["keys"].open("wb") as file:
            for block in exporting.export(opened, actor=ACTOR, pool=world.SPRING):
                file.write(block)
        result.per_second["keys exported"] = _rate(key_counts[world.SPRING], begun)
        for invoice in reversed(invoices.listing(opened, actor=ACTOR).items):
            made = documents.export(opened, actor=ACTOR, invoice=invoice["id"], format="pdf")
            (folder / made.name).write_bytes(b"".join(made.content))
            result.files[f"invoice {invoice['number']}"] = folder / made.name


def _rate(number: int, begun: float) -> int:
    return round(number / (time.monotonic() - begun))
