"""The latest requests of a source: what was recorded, and why others were refused."""

import json
import time
from collections import Counter

import pytest

from tests.webhook.conftest import redemption
from tests.world import OPERATOR
from worker import broker, requests
from worker.database import connections as databases
from worker.tenancy.actors import Role


@pytest.fixture(autouse=True)
def nothing_noted(place):
    """Other modules' sources had the same ids."""
    requests.carry()
    if kept := list(broker.client().scan_iter("keypool:requests:*")):
        broker.client().delete(*kept)
    requests._known.clear()


def noted(sender):
    with databases.session() as session:
        return requests.of_source(session, actor=OPERATOR, source=str(sender.source))


def test_every_request_is_noted_with_what_became_of_it(place, sender):
    sender.post(redemption(), webhook_id="good")
    sender.post(redemption(), webhook_id="good")
    sender.post(redemption("OTHER-KEY-2"), webhook_id="good")
    wrong = redemption()
    wrong["data"]["lerner"] = wrong["data"].pop("learner")
    sender.post(wrong, webhook_id="misspelled")
    sender.post(None, raw=b"{", webhook_id="broken")
    sender.post(redemption(), webhook_id="forged", webhook_signature="v1,AAAA")
    sender.post(redemption(), webhook_id="late", at=int(time.time()) - 3600)
    sender.post(redemption(), webhook_id="bare", webhook_timestamp=None)
    sender.post(None, raw=b"x" * 70_000, webhook_id="large")
    sender.post(redemption(), webhook_id="form", Content_Type="text/plain")

    told = noted(sender)

    results = {one["result"]: one for one in told["requests"]}
    assert [one["status"] for one in reversed(told["requests"])] == [
        202, 200, 409, 422, 400, 401, 401, 401, 413, 415,
    ]  # fmt: skip
    assert set(results) == {
        "recorded", "repeated", "webhook_id_reused", "invalid_input", "not_json", "signature_wrong", "stale",
        "signature_missing", "too_large", "unsupported_media_type",
    }  # fmt: skip
    assert results["recorded"]["event"] == results["repeated"]["event"] is not None
    assert results["invalid_input"]["message"] == (
        "data.learner: Field required. There is no field “data.lerner”."
    )
    assert [one["result"] for one in told["requests"] if not one["signed"]] == [
        "unsupported_media_type", "too_large", "signature_missing", "stale", "signature_wrong",
    ]  # fmt: skip
    assert sum(day["accepted"] for day in told["per_day"]) == 2
    assert sum(day["refused"] for day in told["per_day"]) == 8
    assert len(told["per_day"]) == requests.DAYS


def test_nothing_that_a_stranger_said_is_kept(place, sender):
    stranger = {"type": "redemption.requested", "data": {"email": "victim@example.com"}}
    sender.post(stranger, webhook_id="strangers-words", webhook_signature="v1,c3RyYW5nZXI=")

    [kept] = noted(sender)["requests"]

    raw = broker.client().lrange(requests._key(sender.source, "strange"), 0, -1)
    assert (kept["webhook_id"], kept["event"], kept["status"]) == (None, None, 401)
    assert b"stranger" not in b"".join(raw)
    assert b"victim" not in b"".join(raw)


def test_a_flood_without_a_signature_displaces_no_signed_request_and_stays_bounded(place, sender):
    sender.post(redemption(), webhook_id="kept")
    for _ in range(3):
        for _ in range(500):
            requests.refused(sender.source, status=401, code="signature_wrong")
        requests.carry()

    told = noted(sender)

    client = broker.client()
    assert client.llen(requests._key(sender.source, "strange")) == requests.KEPT
    assert client.llen(requests._key(sender.source, "signed")) == 1
    assert len(told["requests"]) == requests.KEPT
    assert sum(day["refused"] for day in told["per_day"]) == 1500
    assert client.ttl(requests._key(sender.source, "strange")) > 0


def test_strangers_addresses_leave_nothing_and_hold_little(place, sender, monkeypatch):
    for unknown in range(10**9, 10**9 + 5000):
        requests.refused(unknown, status=401, code="signature_wrong")
    held = len(requests._held)
    requests.refused(sender.source, status=401, code="stale")
    requests.carry()
    left = list(broker.client().scan_iter("keypool:requests:100000*"))
    requests._known.add(sender.source)
    for unknown in range(10**9, 10**9 + 5000):
        requests.refused(unknown, status=401, code="signature_wrong")
    requests.refused(sender.source, status=401, code="stale")

    assert (held, left) == (requests.MOST_STRANGE, [])
    assert [one["result"] for one in noted(sender)["requests"]] == ["stale"]


def test_the_receiver_writes_nothing_to_redis_or_the_database_for_a_refused_request(
    place, sender, monkeypatch
):
    asked: Counter[str] = Counter()
    monkeypatch.setattr(requests, "client", lambda: asked.update(["redis"]))
    sender.post(redemption(), webhook_id="refused", webhook_signature="v1,AAAA")

    assert not asked
    assert len(requests._held[sender.source].strange) == 1


def test_requests_are_told_to_managers_of_the_source_alone(place, sender):
    sender.post(redemption(), webhook_id="mine")
    path = f"/api/v1/sources/{sender.source}/requests"

    own = place.client.get(path, headers=place.token(Role.MANAGER))
    foreign = place.client.get(path, headers=place.token(Role.MANAGER, place.world.sibling))

    assert [one["webhook_id"] for one in own.json["requests"]] == ["mine"]
    assert foreign.status_code == 404


def test_where_the_broker_is_away_the_api_says_so_and_messages_are_taken(
    place, sender, monkeypatch
):
    def away():
        raise ConnectionError

    monkeypatch.setattr(requests, "client", away)
    taken = sender.post(redemption(), webhook_id=f"away-{time.time_ns()}")
    asked = place.client.get(
        f"/api/v1/sources/{sender.source}/requests", headers=place.token(Role.MANAGER)
    )

    assert (taken.status_code, asked.status_code) == (202, 503)
    assert json.loads(asked.text)["type"].endswith("requests_away")


def test_a_test_message_goes_the_whole_way_and_redeems_nothing(place, sender, settler):
    tested = place.client.post(
        f"/api/v1/sources/{sender.source}/test", headers=place.token(Role.MANAGER)
    ).json

    assert (tested["ok"], tested["status"]) == (True, 200)
    assert tested["answer"]["outcome"] == "unknown_assignment"
    assert noted(sender)["requests"][0]["webhook_id"] == tested["webhook_id"]
    with databases.session() as session:
        launches = session.connection().exec_driver_sql("SELECT count(*) FROM launch").scalar()
    assert launches == 0
