"""Traces of events (OpenTelemetry): one from the webhook through settling to the deliveries.

A hint carries no data, and one task settles the events of many requests. So no context is handed on: the
ids of an event's trace are derived from the event's, and whoever works on the event adds a span to it. Where
OTEL_EXPORTER_OTLP_ENDPOINT is not set, nothing is imported and nothing is done.
"""

import os
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from worker.logs import log

if TYPE_CHECKING:
    from worker.spans import Spans

Value = str | int | bool


def received(
    event_id: int, seconds: float, *, traceparent: str | None = None, **attributes: Value
) -> None:
    """Begin an event's trace with the request that brought it: it ends now and took `seconds`.

    `traceparent` names the sender's own span (W3C), to which this one is linked.
    """
    if spans := _spans(os.getpid()):
        spans.begin(event_id, seconds, attributes, sender=traceparent)


def worked(name: str, event_ids: Iterable[int], seconds: float, **attributes: Value) -> None:
    """Add what was done about some events to the trace of each: it ends now and took `seconds`."""
    if spans := _spans(os.getpid()):
        for event_id in event_ids:
            spans.add(name, event_id, seconds, attributes)


def close() -> None:
    """Send what is left, before this process ends."""
    if spans := _spans(os.getpid()):
        spans.close()


@cache
def _spans(_pid: int) -> "Spans | None":
    """Give this process's own, since the thread that sends outlives no fork; None where traces are off."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    try:
        from worker.spans import Spans
    except ImportError:
        log.warning("traces are off", reason="the extra keypool[traces] is not installed")
        return None
    return Spans()
