"""The Celery tasks: each opens transactions, calls the domain, logs figures.

Every task is idempotent and may run at any time. None carries data: the work is in the database.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from logging import ERROR, INFO
from typing import Any

from celery import bootsteps
from celery.signals import (
    heartbeat_sent,
    task_postrun,
    task_prerun,
    worker_process_shutdown,
    worker_shutdown,
)
from celery.worker import state
from redis.exceptions import RedisError
from sqlalchemy.orm import Session
from structlog.contextvars import bind_contextvars, clear_contextvars

from worker import broker, metrics, reporting, tracing
from worker.audit import auditing
from worker.billing import runs
from worker.bulk import bulk_acts
from worker.celery import KEY_PREFIX, app
from worker.database import periods
from worker.database.connections import transaction
from worker.database.sweeping import Swept
from worker.errors import DatabaseAwayError
from worker.learning import expiring
from worker.logs import log
from worker.machine import watchdog
from worker.outgoing import deliveries, delivering, mailing, progress, reminding, retries
from worker.pools import batches, tallies
from worker.redemption import inbox, proofs, settling, watching
from worker.reporting import keeping, schedules
from worker.reporting.lake import building
from worker.settings import settings
from worker.tenancy import answers, history, identity_providers, sessions, throttling
from worker.tenancy.actors import Actor

SCHEDULE = Actor.operator("schedule")
STINT = 60  # seconds that one task works at most; then it makes room and asks for the next
SETTLING_STINT = 10  # several settle at once, and may take every process of a worker
# Less than PostgreSQL's idle-in-transaction timeout (a minute), which would release the deliverer's lock.
DELIVERY_STINT = 40
BLANKED_AT_ONCE = 5_000
REMOVED_AT_ONCE = 5_000

# Marks a queued nudge. The sender sets it, and the task removes it before it reads the database. So
# while it is set, a task is still to come that sees everything committed before.
NUDGED = f"{KEY_PREFIX}nudged:"
NUDGE_LASTS = 30_000
AWAY = 1.0  # seconds; circuit breaker: after a timeout the broker is not tried again for so long


@app.task(name="settle")
def settle() -> None:
    """Settle whatever waits in the inbox."""
    _looked("settle")
    until = time.monotonic() + SETTLING_STINT
    if settling.settle_all(until=until):
        _deliver_soon()
    if time.monotonic() >= until:
        nudge("settle")


@app.task(name="work_batches")
def work_batches() -> None:
    """Make keys, and act on many rows, chunk by chunk for the batch and the act whose turn it is."""
    _looked("work_batches")
    until, made, acted = time.monotonic() + STINT, 0, 0
    while True:
        chunk, rows = transaction(batches.work_chunk), transaction(bulk_acts.work_chunk)
        if chunk is None and rows is None:
            break
        made, acted = made + (chunk or 0), acted + (rows or 0)
        metrics.MADE.add(amount=chunk or 0)
        if time.monotonic() >= until:
            nudge("work_batches")
            break
    if made:
        log.info("keys made", count=made)
    if acted:
        log.info("rows acted on", count=acted)
        nudge("mail")  # an act may have written some


@app.task(name="expire")
def expire() -> None:
    """Expire every overdue assignment."""
    expired = expiring.expire_all(limit=settings().expiry_chunk)
    if expired:
        log.info("assignments expired", count=expired)
        _deliver_soon()


@app.task(name="deliver")
def deliver() -> None:
    """Deliver what is due to endpoints."""
    _looked("deliver")
    until = time.monotonic() + DELIVERY_STINT
    counts = delivering.deliver_all(until=until)
    for result, count in counts.items():
        metrics.DELIVERED.add(result, amount=count)
    if time.monotonic() >= until:
        nudge("deliver")


@app.task(name="mail")
def mail() -> None:
    """Send the mails that are due."""
    _looked("mail")
    until = time.monotonic() + DELIVERY_STINT
    counts = mailing.send_all(until=until)
    for result, count in counts.items():
        metrics.MAILED.add(result, amount=count)
    if any(counts.values()):
        log.info("mails sent", **counts)
    if time.monotonic() >= until:
        nudge("mail")


@app.task(name="tell_of_pools")
def tell_of_pools() -> None:
    """Write deliveries about pools that run low or expire soon."""
    if count := transaction(deliveries.tell_of_pools):
        log.info("pools told of", count=count)
        _deliver_soon()


@app.task(name="watch_pools")
def watch_pools() -> None:
    """Look for pools that are unusual against their own past, and tell of those."""
    if count := transaction(watching.watch):
        log.info("pools found unusual", count=count)
        _deliver_soon()


@app.task(name="remind")
def remind() -> None:
    """Write the reminders whose occasion has come."""
    if count := reminding.remind():
        log.info("reminders written", count=count)
        nudge("mail")


@app.task(name="blank_bodies")
def blank_bodies() -> None:
    """Blank (redact) the bodies of deliveries, mails and events that are past their retention."""
    _looked("blank_bodies")
    until, blanked = time.monotonic() + STINT, 0
    while some := transaction(_blank_some):
        blanked += some
        if time.monotonic() >= until:
            nudge("blank_bodies")
            break
    if blanked:
        log.info("bodies blanked", count=blanked)
    while late := transaction(delivering.set_apart_paused):
        log.info("deliveries to paused endpoints set apart", count=late)
    while forgotten := transaction(proofs.forget_old, limit=REMOVED_AT_ONCE):
        log.info("sessions of redeem pages removed", count=forgotten)
    if removed := transaction(mailing.remove_files):
        log.info("files of mails removed", count=removed)


def _blank_some(session: Session) -> int:
    old: dict[str, Any] = {"kept": settings().bodies_kept, "limit": BLANKED_AT_ONCE}
    return sum(one.blank_old(session, **old) for one in (*retries.ALL, inbox))


@app.task(name="forget_answers")
def forget_answers() -> None:
    """Remove the answers to idempotency keys that are past their retention."""
    kept, removed = settings().answers_kept, 0
    while some := transaction(answers.remove_old, kept=kept, limit=REMOVED_AT_ONCE):
        removed += some
    if removed:
        log.info("answers removed", count=removed)


@app.task(name="forget_old")
def forget_old() -> None:
    """Remove deliveries that are past their retention; and history, where a setting says so."""
    _looked("forget_old")
    until, known = time.monotonic() + STINT, settings()
    sweeps: list[tuple[Callable[..., Swept], timedelta | None]] = [
        (deliveries.remove_old, known.deliveries_kept),
        (history.remove_old, known.history_kept),
        *((remove, known.sign_ins_kept) for remove in history.REMOVE_OLD_SIGN_INS),
    ]
    removed = sum(_sweep(remove, kept, until) for remove, kept in sweeps if kept)
    if removed:
        log.info("old rows removed", count=removed)
    if time.monotonic() >= until:
        nudge("forget_old")


def _sweep(remove: Callable[..., Swept], kept: timedelta, until: float) -> int:
    swept, removed = Swept(0, 0), 0
    while swept.upto is not None and time.monotonic() < until:
        swept = transaction(remove, kept=kept, after=swept.upto, limit=REMOVED_AT_ONCE)
        removed += swept.removed
    return removed


@app.task(name="sweep_sign_ins")
def sweep_sign_ins() -> None:
    """Remove failed sign-ins that wore off, and sessions that are over and past their retention."""
    removed = 0
    while some := transaction(_sweep_some):
        removed += some
    if removed:
        log.info("sign-ins swept", count=removed)


def _sweep_some(session: Session) -> int:
    swept = (throttling, sessions, identity_providers)
    return sum(one.remove_old(session, limit=REMOVED_AT_ONCE) for one in swept)


@app.task(name="fold_tallies")
def fold_tallies() -> None:
    """Compact the pools' counters: fold the rows of each into one; and note that the schedule runs."""
    transaction(progress.ran)
    transaction(tallies.fold)


@app.task(name="bill")
def bill() -> None:
    """Invoice every closed month that is not invoiced yet, and finalize drafts past their grace period."""
    until = time.monotonic() + STINT
    figures = runs.run_scheduled(actor=SCHEDULE, until=until, then=keeping.ask_after)
    if any(figures.values()):
        log.info("invoices run", **figures)
    if time.monotonic() >= until:
        nudge("bill")


@app.task(name="schedule_reports")
def schedule_reports() -> None:
    """Queue the reports of schedules whose day, week or month is over."""
    if count := transaction(schedules.ask_due):
        log.info("scheduled reports queued", count=count)
        nudge("make_reports")


# A cell may take long. Even if the worker pauses, the task stays within the visibility timeout,
# after which the broker would redeliver it.
@app.task(name="make_reports", soft_time_limit=240, time_limit=270)
def make_reports() -> None:
    """Make reports that were requested or are due after an invoice; reprint PDFs after an erasure."""
    _looked("make_reports")
    until = time.monotonic() + STINT
    made = reporting.make_all(until=until)
    if made:
        log.info("reports made", count=made)
        _deliver_soon()
        nudge("mail")
    if time.monotonic() >= until:
        nudge("make_reports")
    elif printed := reporting.print_anew(until=until):
        log.info("reports printed again", count=printed)


@app.task(name="make_samples")
def make_samples() -> None:
    """Make the sample data that was asked for at the first start."""
    from worker.simulation import samples  # needs an extra that a web may not have

    _looked("make_samples")
    if made := samples.make():
        log.info("sample data made", **made)


# A month is written whole, or not at all.
@app.task(name="keep_lake", soft_time_limit=240, time_limit=270)
def keep_lake() -> None:
    """Write closed months of the facts into the lake, and those that changed, if there is a lake."""
    _looked("keep_lake")
    until = time.monotonic() + STINT
    built = building.keep(until=until)
    if built and built["months"]:
        log.info("lake written", months=built["months"], facts=built["facts"])
    if time.monotonic() >= until:
        nudge("keep_lake")


@app.task(name="audit")
def audit() -> None:
    """Audit the ledger, once a day; and go on with an audit that was interrupted."""
    _looked("audit")
    until = time.monotonic() + STINT
    transaction(auditing.begin_daily)
    while time.monotonic() < until and (result := transaction(auditing.work_next)):
        if result["ended_at"]:
            failed = [check["name"] for check in result["checks"] if not check["ok"]]
            log.log(ERROR if failed else INFO, "ledger audited", ok=result["ok"], failed=failed)
    if time.monotonic() >= until:
        nudge("audit")


def nudge(task: str) -> None:
    """Send a hint that there is work, unless one is queued already. Best effort: the sweeps look anyway.

    Call it after the commit. It takes 0.3 s at most, and no time while the circuit breaker is open
    (the broker was unreachable a moment ago).
    """
    global _asked_in_vain
    if time.monotonic() < _asked_in_vain + AWAY:
        return
    try:
        if broker.client().set(NUDGED + task, 1, nx=True, px=NUDGE_LASTS):
            app.send_task(task, retry=False)
    except Exception as error:  # the caller has committed: nothing may go wrong any more
        _asked_in_vain = time.monotonic()
        log.warning("broker away", error=type(error).__name__)


def nudge_settle() -> None:
    """Ask the worker to settle the inbox."""
    nudge("settle")


def _deliver_soon() -> None:
    """Ask the worker to deliver, if something is due."""
    if transaction(delivering.is_due):
        nudge("deliver")


_asked_in_vain = -AWAY


def _looked(task: str) -> None:
    """Remove the mark of a queued nudge when its task begins, so that the next event nudges again."""
    try:
        broker.client().delete(NUDGED + task)
    except (RedisError, OSError):
        log.warning("broker away")


# What is told of the jobs themselves -----------------------------------------------------------

NOTED_EVERY = 5.0  # seconds; a job that runs more often has its success noted no more often

_begun = 0.0  # a process runs one task at a time
_noted: dict[str, float] = {}
_heartbeat_at = 0.0


@task_prerun.connect
def _begin(task: Any, task_id: str, **_: object) -> None:
    global _begun
    _begun = time.monotonic()
    clear_contextvars()
    bind_contextvars(job=task.name, hint=task_id)


@task_postrun.connect
def _end(task: Any, state: str, **_: object) -> None:
    now = time.monotonic()
    metrics.RUNS.add(task.name, state.lower())
    metrics.RUN_SECONDS.observe(now - _begun, task.name)
    if state == "SUCCESS" and now >= _noted.get(task.name, -NOTED_EVERY) + NOTED_EVERY:
        _noted[task.name] = now
        with suppress(DatabaseAwayError):
            transaction(periods.succeeded, job=task.name)
    broker.carry()


@heartbeat_sent.connect
def _live(sender: Any, **_: object) -> None:
    global _heartbeat_at
    if time.monotonic() >= _heartbeat_at:
        _heartbeat_at = time.monotonic() + broker.HEARTBEAT_SECONDS
        broker.beat("worker", sender.eventer.hostname)


@worker_process_shutdown.connect
def _end_child(**_: object) -> None:
    tracing.close()


@worker_shutdown.connect
def _leave(sender: Any, **_: object) -> None:
    broker.leave("worker", sender.hostname)


class Watchdog(bootsteps.StartStopStep):
    """Ends a worker whose loop stands still, or that takes no hint although some wait.

    While it looks for a broker that is away, nobody watches it.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Watch, from each connection to the broker on."""
        self.taken = 0
        watchdog.watch()
        self._turns = consumer.timer.call_repeatedly(watchdog.PATIENCE / 10, self.look)

    def stop(self, consumer: Any) -> None:
        """Watch no more."""
        consumer.timer.cancel(self._turns)
        watchdog.rest()

    def look(self) -> None:
        """Give a sign of life if a hint was taken since the last look, or none waits."""
        taken = sum(state.total_count.values())
        if taken != self.taken or not broker.untaken():
            watchdog.alive()
        self.taken = taken


app.steps["consumer"].add(Watchdog)
