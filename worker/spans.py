"""The spans that are sent to a collector: what `worker.tracing` adds, once traces are on."""

import hmac
import threading
import time
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker import logs
from worker.tenancy import secrets

Attributes = Mapping[str, str | int | bool]


class Ids(RandomIdGenerator):
    """Random ids, but for a trace's first span: that has those that are derived from its event."""

    def __init__(self) -> None:
        self.first = threading.local()

    def generate_trace_id(self) -> int:
        """Give the first span's trace."""
        root: SpanContext | None = getattr(self.first, "span", None)
        return root.trace_id if root else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Give the first span's id, or another."""
        root: SpanContext | None = getattr(self.first, "span", None)
        return root.span_id if root else super().generate_span_id()


class Spans:
    """Sends this process's spans, by a thread of its own."""

    def __init__(self) -> None:
        origin = logs.origin()
        named = {
            "service.name": f"keypool-{origin['service']}",
            "service.version": origin["version"],
            "host.name": origin["host"],
        }
        self._ids = Ids()
        self._provider = TracerProvider(
            id_generator=self._ids, resource=Resource.create(named), shutdown_on_exit=True
        )
        # It reads the variables of OpenTelemetry's specification: endpoint, headers, certificate.
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("keypool")

    def begin(
        self, event_id: int, seconds: float, attributes: Attributes, *, sender: str | None
    ) -> None:
        """Begin an event's trace with the span that others are below."""
        self._ids.first.span = self._root(event_id)
        try:
            self._add("receive", event_id, seconds, attributes, Context(), _links(sender))
        finally:
            self._ids.first.span = None

    def add(self, name: str, event_id: int, seconds: float, attributes: Attributes) -> None:
        """Add a span to an event's trace, below its first."""
        below = trace.set_span_in_context(NonRecordingSpan(self._root(event_id)), Context())
        self._add(name, event_id, seconds, attributes, below, [])

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _add(
        self,
        name: str,
        event_id: int,
        seconds: float,
        attributes: Attributes,
        context: Context,
        links: Sequence[Link],
    ) -> None:
        ended = time.time_ns()
        span = self._tracer.start_span(
            name,
            context,
            SpanKind.SERVER if name == "receive" else SpanKind.CONSUMER,
            attributes={"keypool.event_id": event_id, **attributes},
            links=links,
            start_time=ended - int(seconds * 1e9),
        )
        span.end(ended)

    def _root(self, event_id: int) -> SpanContext:
        """Derive an event's trace and its first span, as every process of this system does."""
        derived = hmac.digest(secrets.derived("tracing"), b"%d" % event_id, "sha256")
        trace_id, span_id = (int.from_bytes(derived[a:b], "big") for a, b in ((0, 16), (16, 24)))
        decision = self._provider.sampler.should_sample(None, trace_id, "receive").decision
        sampled = decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def _links(traceparent: str | None) -> list[Link]:
    """Read the sender's own span; a header that is none leads to no link."""
    named = TraceContextTextMapPropagator().extract({"traceparent": traceparent or ""}, Context())
    sender = trace.get_current_span(named).get_span_context()
    return [Link(sender)] if sender.is_valid else []
