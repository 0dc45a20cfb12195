"""Bugs, planted in the product's own processes or in the database: the harness must catch each."""

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text


def plant(name: str) -> None:
    """Plant a bug in this process; the empty name, and one that is planted in SQL, plants nothing."""
    if name in IN_PROCESSES:
        IN_PROCESSES[name]()


@contextmanager
def in_database(name: str) -> Iterator[None]:
    """Plant a bug in the database, if it is one of those, and take it out again."""
    from worker.database.connections import session

    planted, taken_out = IN_SQL.get(name, ("SELECT 1", "SELECT 1"))
    with session() as opened:
        opened.execute(text(planted))
    try:
        yield
    finally:
        with session() as opened:
            opened.execute(text("TRUNCATE settlement, event CASCADE"))
            opened.execute(text(taken_out))


def _each_alone() -> None:
    """Messages are recorded alone, where these bugs are planted."""
    from worker.redemption import groups

    groups.record = lambda *_, **__: {}


def sweep_off() -> None:
    """Nobody looks for what a lost hint left."""
    from worker import celery

    configured = celery.configuration

    def without_sweep() -> dict[str, Any]:
        made = configured()
        del made["beat_schedule"]["settle"]
        return made

    celery.app.add_defaults(without_sweep)


def hint_before_commit() -> None:
    """The worker is told of an event that it cannot see yet."""
    from worker import tasks
    from worker.redemption import inbox

    record = inbox.record

    @functools.wraps(record)
    def hinting(*args: Any, **kwargs: Any) -> inbox.Recorded:
        tasks.nudge_settle()
        time.sleep(0.3)
        recorded = record(*args, **kwargs)
        return inbox.Recorded(recorded.event_id, recorded.status, is_new=False)

    inbox.record = hinting
    _each_alone()


def early_acknowledgement() -> None:
    """A hint is taken off the queue before it is followed."""
    from worker import celery

    configured = celery.configuration
    early = {"task_acks_late": False, "task_reject_on_worker_lost": False}
    celery.app.add_defaults(lambda: configured() | early)


def early_answer() -> None:
    """The sender is told 202, and the commit comes after."""
    from worker.database import connections
    from worker.redemption import inbox
    from worker.tables.labels import EventStatus

    record = inbox.record

    def promising(_connection: Any, **given: Any) -> inbox.Recorded:
        def receive() -> None:
            time.sleep(0.3)
            with connections.connection(connections.Login.WEB) as own:
                record(own, **given)

        threading.Thread(target=receive).start()
        return inbox.Recorded(0, EventStatus.RECORDED, is_new=True)

    inbox.record = promising
    _each_alone()


def attempts_counted_after_the_work() -> None:
    """A claim is committed together with its work: who dies on it leaves no trace."""
    from worker.redemption import settling

    settle, transaction = settling._settle, settling.transaction
    working: list[Any] = []

    @functools.wraps(settle)
    def remembered(session: Any, **given: Any) -> list[str] | None:
        working[:] = [session]
        return settle(session, **given)

    def at_once(function: Any, *args: Any, **given: Any) -> Any:
        if function.__name__ == "_claim":
            return function(*working, *args, **given)
        return transaction(function, *args, **given)

    settling._settle, settling.transaction = remembered, at_once


def workers_clock() -> None:
    """An attempt is judged as of the worker's own time."""
    from worker.redemption import deciding

    decided = deciding.SETTLE.text
    settle = deciding.settle

    def by_own_clock(session: Any, *, event_ids: list[int]) -> list[str]:
        own = f"to_timestamp({time.time()}) AS at"
        deciding.SETTLE = text(decided.replace("received_at AS at", own))
        return settle(session, event_ids=event_ids)

    deciding.settle = by_own_clock


def lock_let_go() -> None:
    """The settler's locks are let go at once, not at the commit."""
    from worker.database import locks

    locks.take_settler = lambda _session, most: True
    locks.take_trees = lambda _session, roots: list(roots)
    locks.await_settlers = lambda _session, _organizations=None: None


IN_PROCESSES = {
    made.__name__: made
    for made in (
        sweep_off,
        hint_before_commit,
        early_acknowledgement,
        early_answer,
        attempts_counted_after_the_work,
        workers_clock,
        lock_let_go,
    )
}

# Planted in the database, and how each is taken out again.
IN_SQL = {
    # The constraint keeps its name, so that the receiver's ON CONFLICT finds it, and nothing else.
    "constraint_dropped": (
        """ALTER TABLE event DROP CONSTRAINT event_is_recorded_once,
           ADD CONSTRAINT event_is_recorded_once UNIQUE (source_id, webhook_id, id)""",
        """ALTER TABLE event DROP CONSTRAINT event_is_recorded_once,
           ADD CONSTRAINT event_is_recorded_once UNIQUE (source_id, webhook_id)""",
    ),
    "deduplication_forgotten_after_5_minutes": (
        """CREATE FUNCTION forget_old_events() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
           BEGIN
               UPDATE event SET webhook_id = webhook_id || '-forgotten-' || id
                WHERE source_id = NEW.source_id AND webhook_id = NEW.webhook_id
                  AND received_at < NEW.received_at - interval '5 minutes';
               RETURN NEW;
           END $$;
           CREATE TRIGGER forget_old_events BEFORE INSERT ON event
              FOR EACH ROW EXECUTE FUNCTION forget_old_events()""",
        "DROP TRIGGER forget_old_events ON event; DROP FUNCTION forget_old_events",
    ),
}
