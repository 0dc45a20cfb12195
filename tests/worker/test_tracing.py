"""Traces, as a collector receives them: one for an event, whichever processes worked on it."""

import sys

import pytest

from tests.collecting import arrived, collecting, spans
from worker import tracing
from worker.settings import settings

SENDER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch, tmp_path):
    monkeypatch.setenv("KEYPOOL_HOME", str(tmp_path))
    settings.cache_clear()
    with collecting() as collector:
        yield collector
    settings.cache_clear()


def another_process() -> None:
    """Go on as a process that knows nothing of the spans so far."""
    tracing.close()
    tracing._spans.cache_clear()


def test_what_processes_did_about_an_event_is_one_trace_below_its_request(collector):
    tracing.received(7, 0.25, **{"http.response.status_code": 202})
    another_process()
    tracing.worked("settle", [6, 7], 0.5)
    another_process()
    tracing.worked("deliver", [7], 0.1, delivered=True)

    found = spans(collector)

    request, settled, delivered = (found[name] for name in ("receive", "settle", "deliver"))
    assert request.trace_id == settled.trace_id == delivered.trace_id
    assert settled.parent_span_id == delivered.parent_span_id == request.span_id
    assert request.parent_span_id == b""
    assert request.end_time_unix_nano - request.start_time_unix_nano == 250_000_000
    attributes = {one.key: one.value for one in request.attributes}
    assert attributes["keypool.event_id"].int_value == 7
    assert attributes["http.response.status_code"].int_value == 202
    assert len(collector.received) == 3


def test_another_event_and_another_system_have_traces_of_their_own(collector, monkeypatch):
    tracing.received(7, 0.1)
    here = spans(collector)["receive"].trace_id
    another_process()
    tracing.received(8, 0.1)
    other_event = spans(collector)["receive"].trace_id
    another_process()
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", "x" * 32)
    settings.cache_clear()
    tracing.received(7, 0.1)
    elsewhere = spans(collector)["receive"].trace_id

    assert len({here, other_event, elsewhere}) == 3


@pytest.mark.parametrize(("traceparent", "links"), [(SENDER, 1), ("00-nonsense", 0), (None, 0)])
def test_a_request_is_linked_to_the_senders_own_span(collector, traceparent, links):
    tracing.received(7, 0.1, traceparent=traceparent)

    span = spans(collector)["receive"]

    assert [one.trace_id.hex() for one in span.links] == [
        "0af7651916cd43dd8448eb211c80319c"
    ] * links
    assert span.trace_id.hex() != "0af7651916cd43dd8448eb211c80319c"


def test_an_event_is_sampled_wholly_or_not_at_all(collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    for event in range(40):
        tracing.received(event, 0.1)
    another_process()
    tracing.worked("settle", range(40), 0.1)

    traces: dict[bytes, set[str]] = {}
    for span in arrived(collector):
        traces.setdefault(span.trace_id, set()).add(span.name)
    assert 0 < len(traces) < 40
    assert all(names == {"receive", "settle"} for names in traces.values())


def test_without_an_address_nothing_is_imported_or_done(monkeypatch):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setitem(sys.modules, "worker.spans", None)  # to import it would raise
    tracing._spans.cache_clear()

    tracing.received(7, 0.1)
    tracing.worked("settle", [7], 0.1)

    assert tracing._spans.cache_info().currsize == 1


def test_without_the_extra_it_is_said_once(monkeypatch, logged):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "worker.spans", None)
    tracing._spans.cache_clear()

    for _ in range(2):
        tracing.received(7, 0.1)

    tracing._spans.cache_clear()
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("traces are off", "warning")
    ]
