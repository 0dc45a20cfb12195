"""What no honest caller sends: a clear problem, at once, and nothing done."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from tests.webhook.checking import openapi
from tests.webhook.conftest import Place, Things
from tests.webhook.test_access import BODIES, told
from worker.database import connections as databases
from worker.tenancy.actors import Role

DEEP = 200_000
HOSTILE = {
    "10 MB": (json.dumps({"name": "x" * 10_000_000}).encode(), 413),
    "nested": (b"[" * DEEP + b"]" * DEEP, 400),
    "nested objects": (b'{"name":' * DEEP + b"1" + b"}" * DEEP, {400, 413}),
    "never closed": (b"[" * DEEP, 400),
    "twice": (b'{"name": "a", "name": "b"}', 400),
    "twice, within": (b'{"name": {"a": 1, "a": 2}}', 400),
    "NaN": (b'{"name": NaN}', 400),
    "Infinity": (b'{"name": -Infinity}', 400),
    "a number of 5,000 digits": (b'{"name": ' + b"9" * 5000 + b"}", 400),
    "NUL": (b'{"name": "a\\u0000b"}', 400),
    "a raw NUL": (b'{"name": "a\0b"}', 400),
    "half a surrogate pair": (b'{"name": "\\ud800"}', 400),
    "not UTF-8": (b'{"name": "\xff"}', 400),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), 400),
    "nothing": (b"", {400, 422}),
    "half": (b'{"name": "x"', 400),
    "a number": (b"7", 422),
    "null": (b"null", 422),
    "false": (b"false", 422),
    "zero": (b"0", 422),
    "no text": (b'""', 422),
    "an empty list": (b"[]", 422),
    "a text": (b'"x"', 422),
}
BODILESS = {"/api/v1/invoices/{invoice}/finalize"}  # whose body may be left out
NEVER = (
    "0000-01-01", "0001-01-01", "10000-01-01", "+010000-01-01", "-2026-01-01", "9999-12-31",
    "2026-02-30", "2026-13-01", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "soon", "",
    "20281231", "31.12.2028", "12/31/2028", "2028-W05-1", "2028-366", "2028-1-1", "٢٠٢٨-١٢-٣١", " 2028-12-31",
    "2028-12-31 ", "2028-12-31T12:00", "2028-12-31 12:00Z", "20281231T120000Z", "1893456000", "2028-12",
)  # fmt: skip
DATED = {
    "POST /api/v1/prices": "from",
    "POST /api/v1/prices/<price>/withdraw": "from",
    "POST /api/v1/pools": "starts_at",
    "PATCH /api/v1/pools/<pool>": "expires_at",
    "POST /api/v1/tokens": "expires_at",
    "POST /api/v1/endpoints/<endpoint>/resend": "since",
    "POST /api/v1/assignments/<assignment>/launches": "launched_at",
    "POST /api/v1/launches/<launch>/end": "ended_at",
    "POST /api/v1/invoices/<invoice>/pay": "on",
    "POST /api/v1/reports": "from",
}
# Cursors that no list gave, whatever it is sorted by.
ALTERED = (
    "x", "=", "é", "after 5", "AAAA", "💥", "a" * 2000, "../..", "%00",
    *(
        base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")
        for inside in ("after", "after ", "after -1", "after 1.5", "after 1e3", "after ٣", "before 1",
                       f"after {2**63}", "after " + "9" * 999, "after 1 2", "name 1 x", "\x00")
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def operator(place: Place) -> dict[str, str]:
    made = place.token(Role.OPERATOR)
    place.client.get("/api/v1/courses", headers=made)  # its first use is recorded
    return made


@pytest.fixture
def nothing_done(place: Place, things: Things, operator: Any) -> Iterator[None]:
    """Let a test pass only where no table has another row than before, nor another state of one."""
    before = everything()
    yield
    assert everything() == before


def everything() -> dict[str, str]:
    """Give a hash of all rows of each table, but for when a token was used."""
    with databases.session() as session:
        tables = session.scalars(
            text("""SELECT relname FROM pg_class WHERE relkind = 'r'
                     AND relnamespace = 'public'::regnamespace AND relname <> 'token'""")
        ).all()
        return {
            table: session.execute(
                text(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table} AS t")
            ).scalar_one()
            for table in tables
        } | {"token": session.execute(text("SELECT count(*) FROM token")).scalar_one()}


def addressed(rule: str, ids: dict[str, str]) -> str:
    if "/shared-pools/" in rule:
        ids = {**ids, "organization": ids["child"], "pool": ids["shared"]}
    return re.sub(r"[<{](?:\w+:)?(\w+)[>}]", lambda name: ids[name[1]], rule)


def described(place: Place) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in openapi(place.client.application)["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/api/"):
                yield method.upper(), path, operation


def clear(answer: Any) -> bool:
    return (
        answer.content_type == "application/problem+json"
        and len(answer.json["detail"]) > 5
        and len(answer.data) < 10_000
        and "Traceback" not in answer.text
    )


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_body_is_refused_by_every_route_that_takes_one(
    place, things, operator, nothing_done, what
):
    body, expected = HOSTILE[what]
    allowed = {expected} if isinstance(expected, int) else expected
    wrong = {}

    for method, path, operation in described(place):
        if "requestBody" in operation and not (what == "nothing" and path in BODILESS):
            answer = place.client.open(
                addressed(path, things.ids),
                method=method,
                data=body,
                headers=operator | {"Content-Type": "application/json"},
            )
            if answer.status_code not in allowed or not clear(answer):
                wrong[method, path] = answer.status_code, answer.text[:200]

    assert wrong == {}


@pytest.mark.parametrize("route", DATED)
def test_a_day_that_there_never_is_is_refused(place, things, operator, nothing_done, route):
    method, _, rule = route.partition(" ")
    ids = things.ids | {"notebook": "usage"}
    wrong = {}

    for day in NEVER:
        answer = place.client.open(
            addressed(rule, ids),
            method=method,
            json=told(BODIES[route], ids) | {DATED[route]: day},
            headers=operator,
        )
        if answer.status_code != 422 or not clear(answer):
            wrong[day] = answer.status_code, answer.text[:200]

    assert wrong == {}


def test_a_time_that_there_never_is_is_refused_by_every_list(place, things, operator):
    for method, path, operation in described(place):
        named = {it["name"] for it in operation.get("parameters", ())} & {"since", "until", "from"}
        for name in named if method == "GET" else ():
            for day in NEVER:
                answer = place.client.get(
                    addressed(path, things.ids), query_string={name: day}, headers=operator
                )
                assert (answer.status_code, clear(answer)) == (422, True), (path, name, day)


def lists(place: Place) -> list[str]:
    return [
        path
        for method, path, operation in described(place)
        if method == "GET" and "cursor" in {it["name"] for it in operation.get("parameters", ())}
    ]


BY_NAME = ("/courses", "/organizations", "/templates", "/users")


def made(path: str, cursor: str) -> dict[str, str]:
    """Ask for a page of a list by its rows' ids, also where it is sorted otherwise unless asked so."""
    return {"cursor": cursor} | ({"sort": "made"} if path.endswith(BY_NAME) else {})


def test_a_page_past_the_end_is_empty(place, things, operator):
    ends = [
        base64.urlsafe_b64encode(f"after {end}".encode()).decode().rstrip("=")
        for end in (0, 2**63 - 1)
    ]

    for path in lists(place):
        both = [
            place.client.get(
                addressed(path, things.ids), query_string=made(path, end), headers=operator
            ).json
            for end in ends
        ]
        assert any(page["next"] is None and [] in page.values() for page in both), path


def test_an_altered_cursor_is_refused_by_every_list(place, things, operator):
    for path in lists(place):
        for cursor in ALTERED:
            answer = place.client.get(
                addressed(path, things.ids), query_string=made(path, cursor), headers=operator
            )
            assert (answer.status_code, clear(answer)) == (422, True), (path, cursor)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "1e2", "x", "", "٣", "9" * 400])
def test_a_page_of_no_such_size_is_refused_by_every_list(place, things, operator, limit):
    for path in lists(place):
        answer = place.client.get(
            addressed(path, things.ids), query_string={"limit": limit}, headers=operator
        )
        assert (answer.status_code, clear(answer)) == (422, True), path


@pytest.mark.parametrize("role", [Role.MANAGER, Role.FINANCE])
def test_a_list_asked_for_what_is_of_another_tenant_answers_404(place, things, role):
    headers = place.token(role, place.world.sibling)
    asked = 0

    for method, path, operation in described(place):
        if method != "GET" or role not in operation["x-roles"] or "{" in path:
            continue
        for name in {it["name"] for it in operation.get("parameters", ())} & things.ids.keys():
            if name in {"course", "notebook", "act"}:  # everybody's to know; “act” is a kind of act
                continue
            answer = place.client.get(path, query_string={name: things.ids[name]}, headers=headers)
            empty = answer.status_code == 200 and answer.json["items"] == []
            assert answer.status_code == 404 or empty, (path, name)
            asked += 1

    assert asked > 5


NAMES = ("שלום \u200f", "a\u202eb", "💥🧑‍🚀", "é" * 100, "Ⅷ", "<b>&amp;", "=1+1", "%s{}$1")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_is_kept_as_it_is(place, operator, name):
    made = place.client.post("/api/v1/organizations", json={"name": name}, headers=operator).json

    [listed] = [
        it
        for it in place.client.get("/api/v1/organizations", headers=operator).json["items"]
        if it["id"] == made["id"]
    ]
    assert made["name"] == listed["name"] == name.strip()


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "\u2003"])
def test_a_name_that_is_none_is_refused(place, things, operator, nothing_done, name):
    bodies = {rule: body for rule, body in BODIES.items() if "name" in body}
    assert len(bodies) > 5

    for route, body in bodies.items():
        method, _, rule = route.partition(" ")
        if rule in {"/api/v1/learners/<email>", "/api/v1/seller"}:  # either may be blank
            continue
        answer = place.client.open(
            addressed(rule, things.ids),
            method=method,
            json=told(body, things.ids) | {"name": name},
            headers=operator,
        )
        assert (answer.status_code, clear(answer)) == (422, True), (route, name)


def test_a_nul_in_an_address_is_refused(place, operator):
    for path in ("/api/v1/keys/%00", "/api/v1/pools?search=a%00b", "/api/v1/learners/a%00@b"):
        answer = place.client.get(path, headers=operator)
        assert (answer.status_code, clear(answer)) == (400, True), path
