"""The history over HTTP: who did what, told to managers, of their organizations alone."""

import csv
import io
import json

import pytest

from worker.database import connections as databases
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

PATH = "/api/v1/history"


@pytest.fixture(scope="module")
def manager(place):
    return place.token(Role.MANAGER)


@pytest.fixture
def paused(place, manager):
    """The acts of pausing and resuming the parent's pool, newest first."""
    for verb in ("pause", "resume"):
        done = place.client.post(f"/api/v1/pools/{place.world.pool}/{verb}", headers=manager)
        assert done.status_code == 200
    acts = place.client.get(f"{PATH}?{about(place)}", headers=manager).json["items"]
    return acts[:2]


def about(place) -> str:
    return f"thing=pool&thing_id={place.world.pool}"


def test_it_says_who_did_what_to_which_thing_and_when_newest_first(place, paused):
    resumed, before = paused

    assert (before["thing"], before["thing_id"]) == ("pool", place.world.pool)
    assert before["actor"].endswith("(manager test)")
    assert before["action"] != resumed["action"]
    assert before["at"] <= resumed["at"]
    assert int(before["id"]) < int(resumed["id"])


def test_each_filter_leaves_what_it_names(place, manager, paused):
    resumed, before = paused
    for chosen in (
        {"action": before["action"]},
        {"by": before["actor"]},
        {"organization": before["organization"]},
        {"until": resumed["at"]},
    ):
        found = place.client.get(PATH, query_string=chosen, headers=manager).json["items"]
        assert before["id"] in {act["id"] for act in found}, chosen

    for excluded in ({"action": "none"}, {"by": "nobody"}, {"since": "2999-01-01T00:00:00Z"}):
        answer = place.client.get(PATH, query_string=excluded, headers=manager)
        assert answer.json["items"] == [], excluded
    ended = place.client.get(PATH, query_string={"until": before["at"]}, headers=manager)
    assert before["id"] not in {act["id"] for act in ended.json["items"]}


def test_pages_follow_one_another_without_gap_or_double(place, manager, paused):
    first = place.client.get(f"{PATH}?{about(place)}&limit=1", headers=manager).json
    path = f"{PATH}?{about(place)}&limit=1&cursor={first['next']}"
    second = place.client.get(path, headers=manager).json

    assert first["items"] + second["items"] == paused


@pytest.mark.parametrize("role", [Role.FINANCE, Role.ANALYST, Role.SENDER])
@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_it_is_told_to_nobody_but_managers(place, role, accept):
    answer = place.client.get(PATH, headers=place.token(role) | {"Accept": accept})

    assert answer.status_code == 403


@pytest.mark.parametrize("where", ["child", "sibling"])
@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
def test_children_and_strangers_read_nothing_of_the_parents(place, paused, where, accept):
    headers = place.token(Role.MANAGER, getattr(place.world, where)) | {"Accept": accept}

    told = place.client.get(f"{PATH}?{about(place)}", headers=headers).text
    named = place.client.get(
        PATH, query_string={"organization": paused[0]["organization"]}, headers=headers
    )

    assert paused[0]["action"] not in told
    assert (named.status_code, named.mimetype) == (404, "application/problem+json")


def test_an_organization_without_a_name_is_nobodys(place, manager):
    answer = place.client.get("/api/v1/history?organization=", headers=manager)

    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_it_is_exported_as_csv_oldest_first_and_no_cell_runs_as_a_formula(place, manager, paused):
    with databases.session() as session:
        history.record(
            session, actor=Actor.operator("=1+1"), action="tried", thing="pool",
            thing_ids=int(place.world.pool), organization_id=place.world.parent, reason='a, "b"',
        )  # fmt: skip

    answer = place.client.get(f"{PATH}?{about(place)}", headers=manager | {"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.mimetype == "text/csv"
    assert list(rows[0]) == ["at", "actor", "organization", "action", "thing", "thing_id", "detail"]
    moments = [row["at"] for row in rows]
    assert moments == sorted(moments)
    assert {(row["thing"], row["thing_id"]) for row in rows} == {("pool", place.world.pool)}
    assert rows[-1]["actor"] == "'=1+1"
    assert json.loads(rows[-1]["detail"]) == {"reason": 'a, "b"'}
    assert [row["action"] for row in rows[-3:-1]] == [act["action"] for act in reversed(paused)]
