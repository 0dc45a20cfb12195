"""One event leads through all logs: from its request, through settling, to its delivery."""

import pytest

from tests.collecting import collecting, spans
from tests.receiving import receiving
from tests.webhook.conftest import Place, Sender, redemption
from tests.world import OPERATOR
from worker import tasks
from worker.database import connections
from worker.outgoing import endpoints
from worker.settings import settings


@pytest.fixture
def private_endpoints(monkeypatch):
    monkeypatch.setenv("KEYPOOL_PRIVATE_ENDPOINTS", "true")
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


def test_a_requests_line_its_settling_and_its_delivery_name_the_same_event(
    place: Place, sender: Sender, private_endpoints, logged
):
    with receiving() as receiver:
        with connections.session() as session:
            endpoints.add(
                session, actor=OPERATOR, url=receiver.url, organization=str(place.world.parent)
            )
        posted = sender.post(redemption(), X_Request_Id="shop-4711")

        tasks.settle()
        tasks.deliver()

    event = int(posted.json["event"])
    lines = {line["event"]: line for line in logged}
    assert posted.headers["X-Request-Id"] == "shop-4711"
    assert (lines["request"]["request"], lines["request"]["event_id"]) == ("shop-4711", event)
    assert lines["events settled"]["events"] == [event]
    assert lines["endpoint told"]["events"] == [event]
    assert len(lines["endpoint told"]["delivered"]) == 1


def test_an_event_is_one_trace_from_its_webhook_to_its_delivery(
    place: Place, sender: Sender, private_endpoints
):
    with collecting() as collector, receiving() as receiver:
        with connections.session() as session:
            endpoints.add(
                session, actor=OPERATOR, url=receiver.url, organization=str(place.world.parent)
            )
        sender.post(redemption(), X_Request_Id="shop-4712")
        tasks.settle()
        tasks.deliver()

        found = spans(collector)

    assert set(found) == {"receive", "settle", "deliver"}
    assert len({span.trace_id for span in found.values()}) == 1
    assert {found[name].parent_span_id for name in ("settle", "deliver")} == {
        found["receive"].span_id
    }
    attributes = {one.key: one.value.string_value for one in found["receive"].attributes}
    assert attributes["keypool.request_id"] == "shop-4712"


@pytest.mark.parametrize(
    "given",
    [
        "two\twords",
        'quoted"',
        "é",
        "a" * 65,
        "ann@example.com",
        "",
        "{}",
    ],
)
def test_a_request_id_that_could_break_a_line_is_not_taken(place: Place, given, logged):
    answer = place.client.get("/healthz", headers={"X-Request-Id": given})

    named = answer.headers["X-Request-Id"]
    assert named != given
    assert len(named) == 12
    assert [line["request"] for line in logged] == [named]


def test_a_request_without_an_id_is_given_one_of_its_own(place: Place):
    ids = {place.client.get("/healthz").headers["X-Request-Id"] for _ in range(3)}

    assert len(ids) == 3
