"""Prometheus metrics of the whole system, read from the database at each scrape.

So every web process gives the same answer, and no process adds up what others counted.
"""

import hmac
from collections.abc import Iterator

from apiflask import APIBlueprint
from flask import Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.orm import Session

from webhook.http.openapi import refuses
from webhook.http.problems import UnauthenticatedError
from worker.database import connections
from worker.database.connections import Login
from worker.settings import settings

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
COUNTED = text("SELECT name, value FROM figures()")
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
    registry.register(Figures())
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
    """A Prometheus collector that reads all figures in one transaction."""

    def collect(self) -> Iterator[Metric]:
        """Give a metric family for each figure, and one for the latest attempts by outcome."""
        with connections.session(Login.WEB) as session:
            for name, value in session.execute(COUNTED):
                yield GaugeMetricFamily(name, FIGURES[name], value)
            yield _outcomes(session)


def _outcomes(session: Session) -> Metric:
    family = GaugeMetricFamily(
        "keypool_redemptions_recent",
        f"The latest {RECENT_ATTEMPTS} attempts to redeem a key, by outcome.",
        labels=["outcome"],
    )
    for outcome, count in session.execute(COUNT_OUTCOMES, {"recent": RECENT_ATTEMPTS}):
        family.add_metric([outcome], count)
    return family
