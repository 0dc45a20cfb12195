"""Pinging: a signed sample of each type, posted now."""

import json
import re
from pathlib import Path

import pytest
import svix
from sqlalchemy import func, select

from tests import world as worlds
from tests.receiving import receiving
from tests.world import OPERATOR
from worker.outgoing import endpoints, pinging
from worker.settings import settings
from worker.tables.labels import DeliveryType
from worker.tables.outgoing import Delivery

GUIDE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


@pytest.fixture
def world(session, monkeypatch):
    monkeypatch.setenv("KEYPOOL_PRIVATE_ENDPOINTS", "true")
    settings.cache_clear()
    yield worlds.build(session)
    settings.cache_clear()


def documented() -> dict[str, set[str]]:
    """The fields of each type's data, as the guide's table lists them."""
    fields: dict[str, set[str]] = {}
    rows = re.findall(r"^\| ((?:`[a-z_]+\.[a-z_]+`,? ?)+)\|[^|]*\| (.*) \|$", GUIDE, re.M)
    last: set[str] = set()
    for types, data in rows:
        last = last if data.startswith("the same") else set(re.findall(r"`([a-z_]+)`", data))
        fields |= dict.fromkeys(re.findall(r"`([a-z_.]+)`", types), last)
    return fields


def test_a_sample_of_each_type_has_the_fields_that_the_guide_lists(world):
    owner = str(world.parent)
    made = endpoints.add(
        world.session, actor=OPERATOR, url="https://hooks.example/", organization=owner
    )

    samples = {
        type_: pinging.prepare(world.session, actor=OPERATOR, endpoint=made["id"], type=type_).body
        for type_ in DeliveryType
    }

    listed = documented()
    for type_, body in samples.items():
        assert body["type"] == type_
        assert set(body["data"]) == listed[type_] - {"endpoint"}, type_


def test_a_ping_is_posted_at_once_signed_and_recorded_nowhere(world):
    with receiving(204) as receiver:
        made = endpoints.add(
            world.session, actor=OPERATOR, url=receiver.url, organization=str(world.parent)
        )
        endpoints.pause(world.session, actor=OPERATOR, endpoint=made["id"])
        answer = pinging.post(pinging.prepare(world.session, actor=OPERATOR, endpoint=made["id"]))

    [request] = receiver.received
    svix.Webhook(made["secret"]).verify(request.body, request.headers)
    body = json.loads(request.body)
    assert (body["type"], body["data"]) == ("endpoint.ping", {"endpoint": made["id"]})
    assert (answer["accepted"], answer["status"], answer["error"]) == (True, 204, None)
    assert answer["webhook_id"] == request.headers["webhook-id"]
    assert world.session.scalar(select(func.count()).select_from(Delivery)) == 0


def test_a_ping_that_fails_says_why(world):
    with receiving(500) as receiver:
        made = endpoints.add(
            world.session, actor=OPERATOR, url=receiver.url, organization=str(world.parent)
        )
        answer = pinging.post(
            pinging.prepare(world.session, actor=OPERATOR, endpoint=made["id"], type="pool.low")
        )

    assert (answer["accepted"], answer["status"], answer["error"]) == (False, 500, "answered 500")
