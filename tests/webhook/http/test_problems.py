"""Whatever is refused, and by whom, is told as a problem (RFC 9457); what takes long, with where to look."""

import json
import re
from typing import Any

import pytest

from tests.webhook.conftest import Place, Things
from tests.webhook.test_access import Route, routes
from webhook import LARGEST_API_BODY
from worker.tenancy.actors import Role

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def operator(place: Place) -> dict[str, str]:
    return place.token(Role.OPERATOR)


def path(route: Route, things: Things) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda name: things.ids[name[1]], route.rule)


def refused(answer: Any, *statuses: int) -> None:
    """Require a problem with one of the statuses, and with all that a problem has."""
    told = answer.get_json(silent=True, force=True)
    assert answer.status_code in statuses, (answer.request.method, answer.request.path, answer.text)
    assert answer.mimetype == "application/problem+json", answer.request.path
    assert re.fullmatch("/problems/[a-z_]+", told["type"])
    assert told["status"] == answer.status_code
    assert told["title"]
    assert told["detail"]
    assert told.get("field") != "_schema"


def test_a_method_that_a_path_has_not_is_refused_with_those_it_has(place, things, operator):
    taken: dict[str, set[str]] = {}
    for route in routes(place):
        taken.setdefault(path(route, things), set()).add(route.method)

    for where, known in taken.items():
        allowed = place.client.options(where, headers=operator).headers["Allow"].split(", ")
        for method in set(METHODS) - set(allowed):
            answer = place.client.open(where, method=method, headers=operator, json={})
            refused(answer, 405)
            assert known <= set(answer.headers["Allow"].split(", ")) <= set(allowed), where


def test_a_path_that_nothing_is_at_is_refused(place, things, operator):
    for route in routes(place):
        for wrong in (f"{path(route, things)}/", f"{path(route, things)}/nothing/at/all"):
            refused(place.client.open(wrong, method=route.method, headers=operator), 404)


BODIES = {
    "no JSON": {"data": b"{", "content_type": "application/json"},
    "nothing": {},
    "another type": {"data": b"<a/>", "content_type": "application/xml"},
    "another shape": {"json": ["what", {"is": "this"}]},
    "an unknown field": {"json": {"no such field": 1}},
    "bytes that are no text": {"data": b"\xff\xfe\0", "content_type": "application/json"},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_not_taken_is_refused(place, things, operator, body):
    document = place.client.get("/openapi.json").json["paths"]
    taking = [
        route
        for route in routes(place)
        if "requestBody"
        in document[re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.rule)][route.method.lower()]
    ]

    answers = [
        place.client.open(path(route, things), method=route.method, headers=operator, **body)
        for route in taking
    ]

    assert len(answers) > 25
    for answer in answers:
        if answer.status_code >= 400:
            refused(answer, 400, 404, 409, 415, 422)


def test_a_body_beyond_the_limit_is_refused(place, things, operator):
    large = json.dumps({"name": "x" * LARGEST_API_BODY})
    for route in routes(place):
        if route.method != "GET":
            answer = place.client.open(
                path(route, things), method=route.method, headers=operator, data=large,
                content_type="application/json",
            )  # fmt: skip
            if answer.status_code >= 400:
                refused(answer, 404, 409, 413, 422)


def test_a_batch_and_a_report_are_found_where_their_location_says(place, things, operator):
    keys = f"/api/v1/pools/{things.ids['pool']}/keys"
    lines = "\n".join(f"LOCATED-{n:04}" for n in range(600))
    asked = {"notebook": "usage", "organization": things.ids["organization"]}

    begun = [
        place.client.post(keys, json={"generate": 2}, headers=operator),
        place.client.post(keys, data=lines, content_type="text/plain", headers=operator),
        place.client.post("/api/v1/reports", json=asked, headers=operator),
    ]

    for answer in begun:
        found = place.client.get(answer.headers["Location"], headers=operator)
        assert (answer.status_code, found.status_code) == (202, 200)
        assert found.json["id"] == answer.json.get("batch", answer.json.get("id"))
        assert found.json["state"] == "queued"
