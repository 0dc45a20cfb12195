"""Acts on many rows over the API."""

import pytest
from sqlalchemy import text

from tests.webhook.conftest import Place
from tests.world import World
from worker.bulk import bulk_acts
from worker.database import connections
from worker.tenancy.actors import Role

WHERE = "/api/v1/bulk-acts"


@pytest.fixture(scope="module")
def manager(place: Place) -> dict[str, str]:
    return place.token(Role.MANAGER)


def redeemed(place: Place, *names: str) -> list[str]:
    with connections.session() as session:
        world = World(session, *list(vars(place.world).values())[1:])
        return [world.redeemed(f"{name}@example.net") for name in names]


def test_an_act_says_before_what_it_costs_and_after_what_became_of_each_row(place, manager):
    ids = redeemed(place, "api-1", "api-2")
    asked = {"act": "cancel", "ids": [*ids, "999999999"]}

    before = place.client.post(f"{WHERE}/preview", json=asked, headers=manager)
    done = place.client.post(WHERE, json=asked | {"expected": 3}, headers=manager)
    where = f"{WHERE}/{done.json['id']}"
    rows = place.client.get(f"{where}/report?refused=true", headers=manager)
    table = place.client.get(f"{where}/report", headers=manager | {"Accept": "text/csv"})

    assert before.json["credited"] == [{"currency": "EUR", "count": 2, "amount": "99.80"}]
    assert (done.status_code, done.json["done"], done.json["refused"]) == (201, 2, 1)
    assert [row["code"] for row in rows.json["items"]] == ["not_found"]
    assert table.text.splitlines()[0] == "id,name,result,code,words"
    assert len(table.text.splitlines()) == 4


def test_all_that_filters_choose_are_the_workers_where_they_are_many(place, manager, monkeypatch):
    redeemed(place, "many-1", "many-2")
    monkeypatch.setattr(bulk_acts, "AT_ONCE", 1)
    asked = {"act": "extend", "days": 3, "assignments": {"pool": place.world.pool}}

    answer = place.client.post(WHERE, json=asked, headers=manager)
    stopped = place.client.post(f"{answer.headers['Location']}/cancel", headers=manager)
    again = place.client.post(f"{answer.headers['Location']}/cancel", headers=manager)

    assert (answer.status_code, answer.json["state"]) == (202, "queued")
    assert (stopped.json["state"], again.status_code) == ("cancelled", 409)


def test_keys_are_those_of_a_pool(place, manager):
    code = place.keys(1)[0]
    listed = place.client.get(f"/api/v1/pools/{place.world.pool}/keys", headers=manager).json
    key = next(item for item in listed["items"] if item["code"] == code)
    asked = {"act": "retire", "pool": place.world.pool, "ids": [key["id"]]}

    done = place.client.post(WHERE, json=asked, headers=manager)

    assert (done.status_code, done.json["done"]) == (201, 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"act": "extend", "days": 1}, "ids"),
        ({"act": "extend", "days": 1, "ids": ["1"], "assignments": {}}, "ids"),
        ({"act": "extend", "ids": ["1"], "reason": "no such field of it"}, "reason"),
        ({"act": "retire", "ids": ["1"]}, "act"),
        ({"act": "extend", "ids": ["one"], "days": 1}, "id"),
    ],
)
def test_an_act_that_says_too_much_or_too_little_is_refused(place, manager, body, field):
    answer = place.client.post(WHERE, json=body, headers=manager)

    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_hundreds_of_rows_may_outlast_a_requests_timeouts(place, manager, monkeypatch):
    ids = redeemed(place, "slow-1")
    timeouts = []
    monkeypatch.setattr(
        bulk_acts,
        "_work",
        lambda session, *_: timeouts.append(session.scalar(text("SHOW statement_timeout"))),
    )

    place.client.post(WHERE, json={"act": "extend", "days": 3, "ids": ids}, headers=manager)

    assert timeouts == ["0"]
