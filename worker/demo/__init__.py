"""The main job from end to end, on a scratch system.

Servers, worker, scheduler and web are the real ones; webhooks are signed and posted over HTTP. The
expected result of each message is known before it is sent, and compared with the actual one. The day has a
past: a year of simulated history.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker import reporting, simulation, tasks
from worker.audit import auditing
from worker.audit.auditing import CheckShape
from worker.billing import documents, invoices, runs
from worker.client import Sender
from worker.database.connections import clock_now, session, transaction
from worker.demo import past, posting, scratch, traffic, waiting, world
from worker.demo.posting import Post
from worker.demo.world import ACTOR
from worker.learning import expiring
from worker.pools import batches, exporting
from worker.pools.batches import BatchShape
from worker.reporting import keeping
from worker.settings import settings
from worker.simulation import clock
from worker.tables.billing import Charge

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
    tell("Starting PostgreSQL and Redis.")
    with scratch.system() as home:
        lived = transaction(past.live_through, redemptions)
        transaction(world.complete)
        with scratch.services(home, meanwhile=partial(_bill_the_past, lived, tell)) as url:
            tell("A worker, the scheduler and the web are up.")
            source = transaction(world.found)
            _make_keys(result, key_counts, bar)
            tell(f"{keys_wanted:,} keys are made: typed, pasted and generated.")
            with bar(redemptions, "Posting webhooks") as advance:
                since = _post(
                    result, url + source["url"], source["secret"], shares, key_counts, advance
                )
            tell(f"{redemptions:,} signed webhooks are received and settled.")
            billed = _pass_time(result, since)
            tell(f"{LATER.days} days have passed: access ran out, and the closed month is billed.")
            _hand_out(result, key_counts, billed, folder)
            tell("The report, the keys and the invoices are written.")
            result.checks = transaction(auditing.audit)["checks"]
            tell("The ledger is audited.")
    return result


def _bill_the_past(lived: dict[str, int], tell: Callable[[str], None]) -> None:
    billed = simulation.bill(reports=False)
    tell(
        f"{past.MONTHS} months have gone by: {lived['redemption']:,} redemptions, "
        f"{lived['launch']:,} launches, {billed['invoices']} invoices."
    )


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
    transaction(world.hand_out, key_counts=key_counts)


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
) -> datetime:
    """Post the day's webhooks, and give when the first was sent."""
    begun = time.monotonic()
    with Sender(url, secret) as sender:
        post = Post(sender, advance, transaction(clock_now))
        posting.post(post, url, shares, world.stock(key_counts, shares.total()))
    result.figures["races for one key, with one winner each"] = shares["raced"]
    result.per_second["webhooks received and settled"] = _rate(len(post.answers), begun)
    result.expected, result.happened = (
        posting.expected(post.planned),
        posting.happened(post),
    )
    return post.since


def _pass_time(result: DemoResult, since: datetime) -> list[int]:
    """Let access run out, bill the closed month, and give its documents."""
    with clock.later(LATER):
        result.figures["assignments expired"] = expiring.expire_all(limit=settings().expiry_chunk)
        billed = runs.run(actor=ACTOR, finalize=True, then=keeping.ask_after)
    result.figures["charges billed"] = today = transaction(_billed, since)
    result.figures["charges of the month's days before, on the same invoices"] = (
        billed.charges - today
    )
    result.figures["invoices finalized"] = len(billed.finalized)
    return billed.finalized


def _billed(opened: Session, since: datetime) -> int:
    """Count the charges since then that are billed."""
    billed = select(func.count(Charge.id)).where(Charge.occurred_at >= since, ~Charge.unbilled)
    return opened.scalars(billed).one()


def _hand_out(
    result: DemoResult, key_counts: dict[str, int], billed: list[int], folder: Path
) -> None:
    """Write the report on the year before, the keys of the largest pool, and the month's invoices."""
    result.files["report"] = folder / "redemptions.html"
    with session(snapshot=True) as opened:
        last = past.last_whole_day(clock_now(opened))
        reporting.run("redemptions", to=last, output=result.files["report"], actor=ACTOR)
        begun, result.files["keys"] = time.monotonic(), folder / "spring-intake-keys.csv"
        with result.files["keys"].open("wb") as file:
            for block in exporting.export(opened, actor=ACTOR, pool=world.SPRING):
                file.write(block)
        result.per_second["keys exported"] = _rate(key_counts[world.SPRING], begun)
        for invoice in reversed(invoices.listing(opened, actor=ACTOR, ids=billed).items):
            made = documents.export(opened, actor=ACTOR, invoice=invoice["id"], format="pdf")
            (folder / made.name).write_bytes(b"".join(made.content))
            kind = invoice["kind"].replace("_", " ")
            result.files[f"{kind} {invoice['number']}"] = folder / made.name


def _rate(number: int, begun: float) -> int:
    return round(number / (time.monotonic() - begun))
