"""The Celery app: how hints travel. PostgreSQL has the truth; a lost hint costs latency only."""

import logging
import socket
import sys
import time
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import beat_init, setup_logging, worker_init, worker_ready
from sqlalchemy.orm import Session

from worker import logs
from worker.database import connections, patience, periods, revisions
from worker.errors import DatabaseAwayError, KeypoolError, SettingsError
from worker.logs import log
from worker.machine import homes, watchdog
from worker.settings import settings
from worker.tenancy import web_keys

KEY_PREFIX = "keypool:"
AWAY_PAUSE = 1  # seconds between checks whether the database is back
LONGEST_PAUSE = 2  # seconds between a worker's attempts to connect to the broker
KEEPALIVE = {  # not every system has all
    "TCP_KEEPIDLE": patience.KEEPALIVE_IDLE,
    "TCP_KEEPINTVL": patience.KEEPALIVE_INTERVAL,
    "TCP_KEEPCNT": patience.KEEPALIVE_COUNT,
    "TCP_USER_TIMEOUT": patience.LET_GO * 1000,
}


def broker_url() -> str:
    """Give the broker's address: from the environment, else the embedded server's.

    Raises:
        SettingsError: none is set, and no embedded server was ever started here.
    """
    if url := settings().redis_url:
        return url
    known = homes.addresses(settings().home)
    if known is None:
        raise SettingsError(
            "KEYPOOL_REDIS_URL is not set and no broker runs here; start one with “keypool up”."
        )
    return known["redis_url"]


def redis_url() -> str:
    """Give the broker's URL in redis-py's form; Celery writes Unix sockets differently.

    Raises:
        SettingsError: as `broker_url`.
    """
    address = broker_url()
    if not address.startswith("redis+socket://"):
        return address
    return address.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")


def transport(socket_timeout: float) -> dict[str, Any]:
    """Give the transport's options: timeouts, since the default blocks for ever on a frozen Redis.

    A network that is cut says nothing: keepalives find out, and a worker that waits for hints looks whether
    Redis still answers.
    """
    return {
        "visibility_timeout": 300,  # longer than any task's timeout, or a task would run twice at once
        "global_keyprefix": KEY_PREFIX,
        "socket_timeout": socket_timeout,
        "socket_connect_timeout": socket_timeout,
        "socket_keepalive": True,
        "socket_keepalive_options": {
            getattr(socket, name): value
            for name, value in KEEPALIVE.items()
            if hasattr(socket, name)
        },
        "health_check_interval": patience.KEEPALIVE_IDLE,
        "retry_on_timeout": False,
    }


def configuration() -> dict[str, Any]:
    """Give Celery's settings when it first asks for them, so that importing this module needs no broker."""
    return {
        "broker_url": broker_url(),
        "broker_transport_options": transport(5),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # the default gives up after 100
        "broker_channel_error_retry": True,  # otherwise a Redis that refuses writes ends the worker
        "task_ignore_result": True,  # state lives in tables
        "result_expires": None,  # so there are no results to clean up either
        "task_acks_late": True,  # a dead child's hint is redelivered; tasks are idempotent
        "task_reject_on_worker_lost": True,
        "task_publish_retry": False,  # a sweep finds what a lost hint leaves
        "task_time_limit": 120,
        "task_soft_time_limit": 110,
        "worker_prefetch_multiplier": 1,  # a smaller window of loss
        "worker_max_tasks_per_child": 1000,  # bounds leaks
        "worker_max_memory_per_child": 300_000,
        "worker_soft_shutdown_timeout": 20,  # less loss at a deploy
        "worker_enable_soft_shutdown_on_idle": True,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "task_serializer": "json",  # no pickle
        "accept_content": ["json"],
        "enable_utc": True,
        "beat_scheduler": "worker.beat:Scheduler",  # Celery's relies on clocks
        "beat_schedule": {
            # Finds what a lost nudge left.
            "settle": _every(settings().settle_sweep, "settle"),
            "work-batches": _every(timedelta(seconds=10), "work_batches"),
            # Finds what is due: a first attempt whose nudge was lost, and every retry.
            "deliver": _every(timedelta(seconds=5), "deliver"),
            "mail": _every(timedelta(seconds=5), "mail"),
            "tell-of-pools": _every(timedelta(minutes=1), "tell_of_pools"),
            "watch-pools": _every(timedelta(minutes=10), "watch_pools"),
            # Catches up after an outage: of each thing, the newest occasion that still holds.
            "remind": _every(timedelta(minutes=1), "remind"),
            "blank-bodies": _every(timedelta(hours=1), "blank_bodies"),
            "forget-answers": _every(timedelta(hours=1), "forget_answers"),
            "forget-old": _every(timedelta(hours=1), "forget_old"),
            "sweep-sign-ins": _every(timedelta(hours=1), "sweep_sign_ins"),
            "expire": _every(timedelta(minutes=1), "expire"),
            "fold-tallies": _every(timedelta(minutes=1), "fold_tallies"),
            # Catches up after an outage: bills every closed month that is not invoiced.
            "bill": _every(timedelta(hours=1), "bill"),
            # Catches up after an outage: queues what schedules missed.
            "schedule-reports": _every(timedelta(minutes=1), "schedule_reports"),
            "make-reports": _every(timedelta(minutes=1), "make_reports"),
            # Catches up after an outage, too: writes every closed month that the lake lacks.
            "keep-lake": _every(timedelta(hours=1), "keep_lake"),
            # Runs every hour, but does its work once a day: see schedule_run.
            "audit": _every(timedelta(hours=1), "audit"),
        },
    }


def _every(interval: timedelta, task: str) -> dict[str, Any]:
    return {"task": task, "schedule": interval}


class Connection(AMQP.Connection):
    """Celery's connection, except that its pauses between attempts do not grow to half a minute."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> "Connection":
        """Connect, and try again every two seconds until that works."""
        pauses = {"interval_start": LONGEST_PAUSE, "interval_max": LONGEST_PAUSE}
        super().ensure_connection(*args, **(pauses | kwargs))
        return self


class Amqp(AMQP):
    """Celery's messages, over such connections."""

    Connection = Connection


app = Celery("keypool", include=["worker.tasks"], amqp=Amqp)
app.add_defaults(configuration)


@setup_logging.connect
def _log(**_: object) -> None:
    logs.configure("beat" if "beat" in sys.argv else "worker")
    for name in ("celery.worker.strategy", "celery.app.trace"):
        # “received” and “succeeded” around each line of a task; what it did is one line, its own
        logging.getLogger(name).setLevel(logging.WARNING)


@worker_init.connect
@beat_init.connect
def _require_a_fitting_database(**_: object) -> None:
    """Stop a worker or beat from starting on a database that its code does not run with.

    It has the database know the webs that have the same secret key.

    A database that is unreachable is waited for. A refusal raises SystemExit: Celery swallows every
    other error in a signal handler.
    """
    _log()
    try:
        while not _answers():
            time.sleep(AWAY_PAUSE)
    except KeypoolError as error:
        raise SystemExit(str(error)) from None
    finally:
        connections.dispose()  # children are forked, and must not share them


def _answers() -> bool:
    try:
        connections.transaction(_fit)
    except DatabaseAwayError as error:
        log.warning("waiting for the database", error=str(error))
        return False
    return True


def _fit(session: Session) -> None:
    revisions.require(session)
    web_keys.tell(session)


@beat_init.connect
def _watch(**_: object) -> None:
    watchdog.watch()  # each tick is a sign of life


@beat_init.connect
def _plan(**_: object) -> None:
    """Note in the database what is planned, so that a job that never succeeds is seen."""
    planned = configuration()["beat_schedule"].values()
    connections.transaction(
        periods.plan, jobs={entry["task"]: entry["schedule"] for entry in planned}
    )


@worker_ready.connect
@beat_init.connect
def _say_ready(**_: object) -> None:
    if file := settings().ready_file:
        file.touch()


def publish_quickly() -> None:
    """Bound how long the web waits for the broker: a timeout of 0.3 seconds and no retry."""
    app.conf.broker_transport_options = transport(0.3)
    app.conf.broker_pool_acquire_timeout = 0.3
