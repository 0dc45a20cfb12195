"""Prometheus metrics of the whole system, put together at each scrape.

What the database knows is asked of it; what processes counted, and their heartbeats, are read from Redis,
where all of them add it up. So every web process gives the same answer, and one is to be scraped.
"""

import hmac
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import TypeVar

from apiflask import APIBlueprint
from flask import Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.orm import Session

from webhook.http.openapi import refuses
from webhook.http.problems import UnauthenticatedError
from worker import broker, errors
from worker import metrics as counted
from worker.database import connections, revisions
from worker.database.connections import Login
from worker.settings import settings

T = TypeVar("T")

blueprint = APIBlueprint("metrics", __name__, tag="Health")

RECENT_ATTEMPTS = (
    10_000  # attempts that are counted: enough to see a change, few enough for every scrape
)

# What each figure of schema.sql's figures() means.
FIGURES = {
    "keypool_events_waiting": "Events recorded and not yet decided.",
    "keypool_events_waiting_oldest_seconds": "How long the oldest of them has waited.",
    "keypool_events_waiting_for_a_launch": "Ends of training whose launch has not come yet.",
    "keypool_events_failed": "Events set apart for a person.",
    "keypool_deliveries_waiting": "Outgoing events that no endpoint has taken yet.",
    "keypool_deliveries_waiting_oldest_seconds": "How long ago the oldest of them happened.",
    "keypool_deliveries_failed": "Outgoing events set apart for a person, after three days of tries.",
    "keypool_deliveries_due_oldest_seconds": (
        "How long the oldest of them has been due, of endpoints that are not paused."
    ),
    "keypool_schedule_last_run_seconds": (
        "How long ago a task of the schedule last ran; they run every minute."
    ),
    "keypool_batches_unfinished": "Batches queued or running.",
    "keypool_messages_waiting": "Mails that the mail server has not accepted yet.",
    "keypool_messages_failed": "Mails that are set apart: see “keypool messages list --failed”.",
    "keypool_invoices_held_up": (
        "Drafts of closed months that no run finalizes: the seller has no name, address or tax id."
    ),
    "keypool_invoices_by_hand": "Drafts that only a person finalizes, as after a voiding.",
    "keypool_assignments_overdue": "Assignments past their end that the expiry sweep has not marked yet.",
}
# What each of schema.sql's labelled_figures() means, and the name of its label.
LABELLED = {
    "keypool_job_interval_seconds": ("How often beat asks for a job.", "task"),
    "keypool_job_last_success_seconds": (
        "How long ago a job last succeeded; if it never did, since when it is planned.",
        "task",
    ),
    "keypool_lock_held_seconds": (
        "How long a lock's row has been held; 0 if it is free. “tree” is the organization tree's longest.",
        "lock",
    ),
    "keypool_lock_holder_pid": (
        "The holder's process id in pg_stat_activity; 0 if the lock is free.",
        "lock",
    ),
    "keypool_connections": ("Connections to the PostgreSQL server, by login.", "login"),
    "keypool_connections_limit": ("Connections that the server has for logins like ours.", ""),
    "keypool_audit_ok": ("Whether the last audit found that every rule holds: 1 or 0.", ""),
    "keypool_audit_last_result_seconds": ("How long ago the last audit ended.", ""),
    "keypool_audit_seconds": ("How long the last audit took.", ""),
    "keypool_endpoints_failing": ("Endpoints that did not take their last delivery.", ""),
    "keypool_settling_delay_seconds": (
        "From receiving to deciding: the latest 1,000 redemptions, of 15 minutes at most.",
        "quantile",
    ),
    "keypool_delivery_delay_seconds": (
        "From the event to its delivery: the latest 1,000, of 15 minutes at most.",
        "quantile",
    ),
}
COUNTED = text("SELECT name, value FROM figures()")
COUNT_LABELLED = text("SELECT name, label, value FROM labelled_figures()")
COUNT_OUTCOMES = text("SELECT outcome, attempts FROM recent_outcomes(:recent)")


@blueprint.get("/metrics")
@blueprint.output({}, content_type="text/plain")
@refuses("401")
def metrics() -> Response:
    """Give the system's figures in Prometheus' text format.

    Where KEYPOOL_PUBLIC_URL is an https address, they are for who has KEYPOOL_METRICS_TOKEN.
    """
    _require_token()
    registry = CollectorRegistry()
    broker.carry()  # this process's own counts, so that a scrape sees its latest request
    for collector in (Figures(), Processes(), Counts()):
        registry.register(collector)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _require_token() -> None:
    known = settings().metrics_token
    if known is None and not (settings().public_url or "").startswith("https:"):
        return  # a trial on one's own machine
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    fits = scheme.lower() == "bearer" and hmac.compare_digest(
        token.strip().encode(), (known or "").encode()
    )
    if not known or not fits:
        raise UnauthenticatedError


class Figures(Collector):
    """A Prometheus collector of what the database knows, read in one transaction."""

    def collect(self) -> Iterator[Metric]:
        """Give a family for each figure; without a database, or with one that does not fit, that alone."""
        yield InfoMetricFamily(
            "keypool_build", "The version of this code.", {"version": version("keypool")}
        )
        yield _gauge(
            "keypool_code_revision", "The newest migration of this code.", int(revisions.CODE)
        )
        up, schema, fits, families = self._read()
        yield _gauge("keypool_database_up", "Whether the database answers: 1 or 0.", up)
        yield _gauge(
            "keypool_schema_revision", "The database's last migration; 0 if unknown.", schema
        )
        yield _gauge(
            "keypool_schema_fits", "Whether this code runs with that revision: 1 or 0.", fits
        )
        yield from families

    def _read(self) -> tuple[bool, int, bool, list[Metric]]:
        try:
            with connections.session(Login.WEB) as session:
                standing = revisions.standing(session)
                if standing.refusal():
                    return True, int(standing.revision), False, []
                return True, int(standing.revision), True, list(_families(session))
        except revisions.NotMadeError:
            return True, 0, False, []
        except errors.KeypoolError:
            return False, 0, False, []


def _families(session: Session) -> Iterator[Metric]:
    for name, value in session.execute(COUNTED):
        yield _gauge(name, FIGURES[name], value)
    labelled = {name: _labelled(name) for name in LABELLED}
    for name, label, value in session.execute(COUNT_LABELLED):
        labelled[name].add_metric([label] if LABELLED[name][1] else [], value)
    yield from labelled.values()
    yield _outcomes(session)


def _labelled(name: str) -> GaugeMetricFamily:
    meaning, label = LABELLED[name]
    return GaugeMetricFamily(name, meaning, labels=[label] if label else [])


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)


def _outcomes(session: Session) -> Metric:
    family = GaugeMetricFamily(
        "keypool_redemptions_recent",
        f"The latest {RECENT_ATTEMPTS} attempts to redeem a key, by outcome.",
        labels=["outcome"],
    )
    for outcome, count in session.execute(COUNT_OUTCOMES, {"recent": RECENT_ATTEMPTS}):
        family.add_metric([outcome], count)
    return family


class Processes(Collector):
    """A Prometheus collector of the broker, and of the workers and beats that have their heartbeat there."""

    def collect(self) -> Iterator[Metric]:
        """Give whether the broker answers, and of each kind of process how many live and are lost."""
        found = _asked(lambda: (broker.hints_waiting(), broker.processes()))
        yield _gauge("keypool_broker_up", "Whether the broker answers: 1 or 0.", found is not None)
        if found:
            hints, processes = found
            yield _gauge("keypool_hints_waiting", "Hints that no worker has taken yet.", hints)
            yield from _by_kind(processes)


def _by_kind(processes: list[broker.Process]) -> Iterator[Metric]:
    families = [
        GaugeMetricFamily(
            "keypool_processes", "Processes with a heartbeat of late.", labels=["kind"]
        ),
        GaugeMetricFamily(
            "keypool_processes_lost",
            "Processes whose heartbeat stopped within the last hour, and that did not say goodbye.",
            labels=["kind"],
        ),
        GaugeMetricFamily(
            "keypool_heartbeat_seconds", "How long ago the latest heartbeat was.", labels=["kind"]
        ),
        GaugeMetricFamily(
            "keypool_processes_code_revision",
            "The oldest code revision among those with a heartbeat of late.",
            labels=["kind"],
        ),
    ]
    for kind in ("worker", "beat"):
        known = [one for one in processes if one.kind == kind]
        live = [one for one in known if one.age <= broker.LOST_AFTER]
        alive, lost, heartbeat, code = families
        alive.add_metric([kind], len(live))
        lost.add_metric([kind], len(known) - len(live))
        heartbeat.add_metric([kind], min((one.age for one in known), default=float("inf")))
        code.add_metric([kind], min((int(one.code) for one in live), default=0))
    yield from families


class Counts(Collector):
    """A Prometheus collector of what all processes counted."""

    def collect(self) -> Iterator[Metric]:
        """Give a family for each counter and histogram."""
        series: dict[str, dict[counted.Key, float]] = defaultdict(dict)
        for (name, *labels), amount in (_asked(broker.counts) or {}).items():
            series[name][tuple(labels)] = amount
        for one in counted.ALL:
            yield (
                _counter(one, series[one.name])
                if isinstance(one, counted.Count)
                else _histogram(one, series[one.name])
            )


def _counter(one: counted.Count, found: Mapping[counted.Key, float]) -> Metric:
    family = CounterMetricFamily(one.name, one.meaning, labels=one.labels)
    for labels, amount in found.items():
        family.add_metric(labels, amount)
    return family


def _histogram(one: counted.Duration, found: Mapping[counted.Key, float]) -> Metric:
    family = HistogramMetricFamily(one.name, one.meaning, labels=one.labels)
    for labels in {key[:-1] for key in found}:
        total, buckets = 0.0, []
        for bound in one.buckets:
            total += found.get((*labels, bound), 0)
            buckets.append((bound, total))
        family.add_metric(labels, buckets, found.get((*labels, "sum"), 0))
    return family


def _asked(ask: Callable[[], T]) -> T | None:
    """Give an answer of the broker's; None while it is away."""
    try:
        return ask()
    except (RedisError, OSError, errors.KeypoolError):
        return None
