"""A collector of traces, as other people run one: it takes them by OTLP over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.receiving import Receiving, receiving
from worker import tracing


@contextmanager
def collecting() -> Iterator[Receiving]:
    """Run a collector, with traces on, until the block ends."""
    with receiving() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        tracing._spans.cache_clear()
        yield collector
        tracing.close()
    tracing._spans.cache_clear()


def arrived(collector: Receiving) -> list[Span]:
    """Give the spans that have arrived, once this process has sent all."""
    tracing.close()
    bodies = [ExportTraceServiceRequest.FromString(one.body) for one in collector.received]
    return [
        span
        for body in bodies
        for resource in body.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def spans(collector: Receiving) -> dict[str, Span]:
    """Give the latest span of each name."""
    return {span.name: span for span in arrived(collector)}
