"""What was read is not sent again while it is the same, and not changed once it is another's."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from tests.waiting import eventually, somebody_waits_for_a_lock
from tests.webhook.conftest import Place, Things
from tests.webhook.test_access import INSTEAD, Route, ask, routes
from tests.world import OPERATOR
from worker.database import connections as databases
from worker.tenancy import organizations
from worker.tenancy.actors import Role


@pytest.fixture(scope="module")
def operator(place: Place) -> dict[str, str]:
    return place.token(Role.OPERATOR)


@pytest.fixture
def pool(place: Place) -> str:
    """The address of the world's pool."""
    return f"/api/v1/pools/{place.world.pool}"


def read(place: Place, path: str, headers: dict[str, str]) -> str:
    return str(place.client.get(path, headers=headers).headers["ETag"])


def acts() -> int:
    with databases.session() as session:
        return int(session.execute(text("SELECT count(*) FROM history")).scalar_one())


def edit(place: Place, path: str, headers: dict[str, str], tag: str, **body: Any) -> Any:
    client = place.client.application.test_client()
    return client.patch(path, json=body, headers=headers | {"If-Match": tag})


def test_everything_that_is_read_tells_its_etag_and_is_not_sent_again(place, things, operator):
    single_sign_on = Route("POST", "/api/v1/organizations/<organization>/single-sign-on", ())
    assert ask(place, single_sign_on, things, operator).status_code < 300
    for route in routes(place):
        if route.method != "GET" or str(route) in INSTEAD:  # e-invoices, which are no JSON
            continue
        first = ask(place, route, things, operator)
        if not first.is_json:
            continue
        same = ask(place, route, things, operator | {"If-None-Match": first.headers["ETag"]})
        other = ask(place, route, things, operator | {"If-None-Match": '"another"'})

        assert (same.status_code, same.data) == (304, b""), route
        assert same.headers["ETag"] == first.headers["ETag"], route
        assert (other.status_code, other.data) == (200, first.data), route


def test_no_route_that_takes_if_match_changes_what_somebody_changed(place, things, operator):
    app = place.client.application
    versioned = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if hasattr(app.view_functions[rule.endpoint], "versioned")
    }
    changing = [r for r in routes(place) if r.rule in versioned and r.method != "GET"]
    tag = {"If-Match": '"0123456789abcdef.0123456789abcdef"'}
    any_ = Things(things.ids | {"finalized invoice": things.ids["invoice"]})
    before = acts()

    late = [ask(place, route, any_, operator | tag) for route in changing]

    assert acts() == before
    assert len(changing) > 15
    assert {(answer.status_code, answer.json["type"]) for answer in late} == {
        (412, "/problems/changed_meanwhile")
    }


def test_what_is_as_it_was_read_is_changed_and_told_with_its_new_etag(place, operator, pool):
    tag = read(place, pool, operator)

    first = edit(place, pool, operator, tag, content_availability_days=40)
    late = edit(place, pool, operator, tag, content_availability_days=50)
    second = edit(place, pool, operator, first.headers["ETag"], content_availability_days=60)

    assert [one.status_code for one in (first, late, second)] == [200, 412, 200]
    assert second.headers["ETag"] == read(place, pool, operator)
    assert place.client.get(pool, headers=operator).json["content_availability_days"] == 60


@pytest.mark.parametrize(
    ("thing", "method", "act", "body"),
    [
        ("/pools/{pool}", "PATCH", "", {"content_availability_days": 44}),
        ("/pools/{pool}", "POST", "/pause", None),
        ("/pools/{pool}", "POST", "/resume", None),
        ("/invoices/{invoice}", "POST", "/finalize", {"anyway": True}),
        ("/invoices/{invoice}", "POST", "/void", {"reason": "why"}),
        ("/assignments/{assignment}", "POST", "/extend", {"days": 1}),
        ("/assignments/{assignment}", "POST", "/cancel", {"reason": "why"}),
        ("/learners/{email}", "PATCH", "", {"name": "Another"}),
        ("/organizations/{organization}", "PATCH", "", {"tax_rate": "7"}),
        ("/courses/{course}", "PATCH", "", {"title": "Another"}),
        ("/courses/{course}", "POST", "/archive", None),
        ("/seller", "PATCH", "", {"address": "Another"}),
        ("/endpoints/{endpoint}", "PATCH", "", {"pool_low": 7}),
    ],
)
def test_every_act_tells_the_version_that_is_read_afterwards(
    place, things, operator, thing, method, act, body
):
    path = "/api/v1" + thing.format(**things.ids)
    before = read(place, path, operator)

    acted = place.client.open(path + act, method=method, json=body, headers=operator)

    assert acted.status_code == 200, acted.json
    tags = [before, acted.headers["ETag"], read(place, path, operator)]
    was, told, now = (tag.partition(".")[0] for tag in tags)
    assert was != told == now


def test_an_act_upon_what_was_read_is_late_once_somebody_acted(place, operator, pool):
    tag = {"If-Match": read(place, pool, operator)}

    paused = place.client.post(f"{pool}/pause", headers=operator | tag)
    late = place.client.post(f"{pool}/resume", headers=operator | tag)
    resumed = place.client.post(
        f"{pool}/resume", headers=operator | {"If-Match": paused.headers["ETag"]}
    )

    assert [one.status_code for one in (paused, late, resumed)] == [200, 412, 200]


def test_a_figure_that_goes_on_by_itself_keeps_nobody_from_an_edit(place, operator, pool):
    tag = read(place, pool, operator)
    place.keys(3)

    fresh = read(place, pool, operator)
    edited = edit(place, pool, operator, tag, content_availability_days=41)

    assert fresh != tag
    assert edited.status_code == 200


def test_of_edits_at_once_of_what_was_read_one_passes(place, operator, pool):
    tag, start = read(place, pool, operator), threading.Barrier(6)

    def change(days: int) -> int:
        start.wait()
        told = edit(place, pool, operator, tag, content_availability_days=70 + days)
        return int(told.status_code)

    with ThreadPoolExecutor(6) as threads:
        statuses = sorted(threads.map(change, range(6)))

    assert statuses == [200, *[412] * 5]


def test_an_edit_waits_for_one_that_is_under_way_and_is_late(place, operator):
    path = f"/api/v1/organizations/{place.world.child}"
    tag = read(place, path, operator)

    with ThreadPoolExecutor(1) as threads:
        with databases.session() as session:
            organizations.edit(
                session, actor=OPERATOR, organization=str(place.world.child), tax_rate="7"
            )
            waiting = threads.submit(edit, place, path, operator, tag, locale="de")
            assert eventually(somebody_waits_for_a_lock)
        late = waiting.result()

    assert late.status_code == 412


@pytest.mark.parametrize(
    ("tag", "status"),
    [("*", 200), ("", 412), ('""', 412), ("W/{}", 412), ('"x", {}', 200), ("{", 412)],
)
def test_if_match_is_read_as_the_standard_says(place, operator, pool, tag, status):
    known = read(place, pool, operator)

    answer = edit(place, pool, operator, tag.replace("{}", known), content_availability_days=42)

    assert answer.status_code == status


def test_who_says_nothing_of_what_was_read_edits_what_is_there(place, operator, pool):
    answer = place.client.patch(pool, json={"content_availability_days": 43}, headers=operator)

    assert answer.status_code == 200
    assert answer.headers["ETag"] == read(place, pool, operator)


@pytest.mark.parametrize("tag", ['""', 'W/"", ""', ", ,", '"a', "W/", '"\u00e9"'])
def test_what_is_no_etag_is_none_that_was_read(place, operator, pool, tag):
    answer = edit(place, pool, operator, tag, content_availability_days=40)

    assert answer.status_code == 412
