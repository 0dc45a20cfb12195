"""What the worker is asked to do: each task opens transactions, calls the domain, logs figures.

Every task may run twice or at any time; none carries anything that the database does not know.
"""

import time
from functools import cache
from logging import ERROR, INFO

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker import audit as audits
from worker import reporting
from worker.billing import runs
from worker.celery import PREFIX, app, redis_url
from worker.database.connections import transaction
from worker.learning import expiring
from worker.logs import log
from worker.outgoing import deliveries, delivering
from worker.pools import batches, tallies
from worker.redemption import inbox, settling
from worker.reporting import keeping
from worker.settings import settings
from worker.tenancy import answers
from worker.tenancy.actors import Actor

SCHEDULE = Actor.operator("schedule")
STINT = 60  # seconds that one task works at most; then it makes room and asks for the next
# Less than the minute after which the database ends an idle transaction, the deliverer's lock.
DELIVERY_STINT = 40
BLANKED_AT_ONCE = 5_000
REMOVED_AT_ONCE = 5_000

# A nudge that is under way: set by who sends it, taken away by the task before it looks. So while
# it stands, whatever was committed before is seen.
NUDGED = f"{PREFIX}nudged:"
NUDGE_LASTS = 30_000
AWAY = 1.0  # seconds for which a broker that did not answer is not asked again


@app.task(name="settle")
def settle() -> None:
    """Settle whatever waits in the inbox."""
    _looked("settle")
    until = time.monotonic() + STINT
    outcomes = settling.settle_all(until=until)
    if outcomes:
        log.info("events settled", **outcomes)
        _deliver_soon()
    if time.monotonic() >= until:
        nudge("settle")


@app.task(name="work_batches")
def work_batches() -> None:
    """Make keys, chunk by chunk, of whichever batch's turn it is."""
    _looked("work_batches")
    until, made = time.monotonic() + STINT, 0
    while (chunk := transaction(batches.work_chunk)) is not None:
        made += chunk
        if time.monotonic() >= until:
            nudge("work_batches")
            break
    if made:
        log.info("keys made", count=made)


@app.task(name="expire")
def expire() -> None:
    """Expire every overdue assignment, however long nobody looked."""
    expired = expiring.expire_all(limit=settings().expiry_chunk)
    if expired:
        log.info("assignments expired", count=expired)
        _deliver_soon()


@app.task(name="deliver")
def deliver() -> None:
    """Tell endpoints whatever is due."""
    _looked("deliver")
    until = time.monotonic() + DELIVERY_STINT
    told = delivering.deliver_all(until=until)
    if any(told.values()):
        log.info("endpoints told", **told)
    if time.monotonic() >= until:
        nudge("deliver")


@app.task(name="tell_of_pools")
def tell_of_pools() -> None:
    """Have endpoints told which pools ran low or come to their end."""
    if told := transaction(deliveries.tell_of_pools):
        log.info("pools told of", count=told)
        _deliver_soon()


@app.task(name="blank_bodies")
def blank_bodies() -> None:
    """Blank the bodies of deliveries and of events that were kept long enough."""
    _looked("blank_bodies")
    until, blanked = time.monotonic() + STINT, 0
    old = {"kept": settings().bodies_kept, "limit": BLANKED_AT_ONCE}
    while some := sum(transaction(of.blank_old, **old) for of in (deliveries, inbox)):
        blanked += some
        if time.monotonic() >= until:
            nudge("blank_bodies")
            break
    if blanked:
        log.info("bodies blanked", count=blanked)


@app.task(name="forget_answers")
def forget_answers() -> None:
    """Remove the answers that were kept long enough."""
    kept, removed = settings().answers_kept, 0
    while some := transaction(answers.remove_old, kept=kept, limit=REMOVED_AT_ONCE):
        removed += some
    if removed:
        log.info("answers removed", count=removed)


@app.task(name="fold_tallies")
def fold_tallies() -> None:
    """Fold the pools' figures together."""
    transaction(tallies.fold)


@app.task(name="bill")
def bill() -> None:
    """Invoice every closed month that is not invoiced yet, and finalize what is past its grace."""
    until = time.monotonic() + STINT
    figures = runs.run_scheduled(actor=SCHEDULE, until=until, then=keeping.ask_after)
    if any(figures.values()):
        log.info("invoices run", **figures)
    if time.monotonic() >= until:
        nudge("bill")


# A cell may take long; with what a worker's pause may add, it stays within the time after which the
# broker would hand the task to another.
@app.task(name="make_reports", soft_time_limit=240, time_limit=270)
def make_reports() -> None:
    """Make reports that were asked for, or are due after an invoice; print anew what was erased from."""
    _looked("make_reports")
    until = time.monotonic() + STINT
    made = reporting.make_all(until=until)
    if made:
        log.info("reports made", count=made)
    if time.monotonic() >= until:
        nudge("make_reports")
    elif printed := reporting.print_anew(until=until):
        log.info("reports printed anew", count=printed)


@app.task(name="audit")
def audit() -> None:
    """Audit the ledger, once a day."""
    if result := transaction(audits.audit_daily):
        failed = [check["name"] for check in result["checks"] if not check["ok"]]
        log.log(ERROR if failed else INFO, "ledger audited", ok=result["ok"], failed=failed)


def nudge(task: str) -> None:
    """Ask the worker to look, unless somebody just did; best effort, for the sweeps look anyway.

    Call it after the commit. It takes 0.3 s at most, and nothing while the broker is known to be
    away.
    """
    global _asked_in_vain
    if time.monotonic() < _asked_in_vain + AWAY:
        return
    try:
        if _redis().set(NUDGED + task, 1, nx=True, px=NUDGE_LASTS):
            app.send_task(task, retry=False)
    except Exception as error:  # the caller has committed: nothing may go wrong any more
        _asked_in_vain = time.monotonic()
        log.warning("broker away", error=type(error).__name__)


def nudge_settle() -> None:
    """Ask the worker to settle the inbox."""
    nudge("settle")


def _deliver_soon() -> None:
    """Ask the worker to tell endpoints, where there is something to tell."""
    if transaction(delivering.is_due):
        nudge("deliver")


def broker_answers() -> bool:
    """Say whether the broker answers within 0.3 seconds."""
    try:
        return bool(_redis().ping())
    except (RedisError, OSError):
        return False


_asked_in_vain = -AWAY


def _looked(task: str) -> None:
    """Say that a nudged task looks now, so that the next event nudges again."""
    try:
        _redis().delete(NUDGED + task)
    except (RedisError, OSError):
        log.warning("broker away")


@cache
def _redis() -> Redis:
    return Redis.from_url(
        redis_url(),
        socket_timeout=0.3,
        socket_connect_timeout=0.3,
        retry=Retry(NoBackoff(), 0),  # the default pauses and asks again
    )
