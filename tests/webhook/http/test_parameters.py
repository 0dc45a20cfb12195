"""What is asked says what is meant, or is refused: unknown parameters, nulls, numbers."""

import re
from collections import defaultdict
from typing import Any

import pytest

from tests.webhook.checking import openapi
from tests.webhook.conftest import Place, Things
from tests.webhook.http.test_bad_input import addressed, clear, everything
from tests.webhook.test_access import BODIES, routes
from worker.tenancy.actors import Role

# Of each thing that can be changed: what null clears, as it is shown then.
CLEARED = {
    "/api/v1/organizations/<organization>": {
        "parent": None, "legal_name": "", "address": "", "tax_id": "", "street": "", "postcode": "",
        "city": "", "country": "", "electronic_address": "", "buyer_reference": "",
        "purchase_order": "", "billing_email": "", "sender_name": "", "reply_to": "", "colour": "",
        "redeem_domains": [], "redeem_languages": [], "redeem_text": "", "support_email": "",
        "logo": None,
    },
    "/api/v1/seller": {
        "address": "", "street": "", "postcode": "", "city": "", "country": "", "tax_id": "",
        "contact": "", "phone": "", "email": "", "electronic_address": "", "payment_details": "",
    },
    "/api/v1/learners/<email>": {"name": ""},
    "/api/v1/pools/<pool>": {},
    "/api/v1/courses/<course>": {"launch_url": None},
    "/api/v1/endpoints/<endpoint>": {},
    "/api/v1/reports/schedules/<schedule>": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def operator(place: Place) -> dict[str, str]:
    made = place.token(Role.OPERATOR)
    place.client.get("/api/v1/courses", headers=made)  # its first use is recorded
    return made


def fields_of(place: Place, rule: str) -> set[str]:
    """Give the fields that a PATCH takes, by the document."""
    document = openapi(place.client.application)
    path = re.sub(r"<(\w+)>", r"{\1}", rule)
    content = document["paths"][path]["patch"]["requestBody"]["content"]["application/json"]
    name = content["schema"]["$ref"].rpartition("/")[2]
    return set(document["components"]["schemas"][name]["properties"])


def test_every_route_refuses_a_parameter_that_it_does_not_know_and_names_those_it_does(
    place, things, operator
):
    before, wrong = everything(), {}

    for route in routes(place):
        answer = place.client.open(
            addressed(route.rule, defaultdict(lambda: "1", things.ids)),  # none needs to be there
            method=route.method,
            query_string={"colour": "blue"},
            json=BODIES.get(str(route)),
            headers=operator,
        )
        if not clear(answer) or (answer.status_code, answer.json["field"]) != (422, "colour"):
            wrong[str(route)] = answer.status_code, answer.text[:200]

    assert wrong == {}
    assert everything() == before


def test_a_parameter_that_comes_twice_is_refused_by_every_route_that_takes_one(
    place, things, operator
):
    document, before, wrong = openapi(place.client.application), everything(), {}

    for route in routes(place):
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.rule)
        about = document["paths"][path][route.method.lower()].get("parameters", [])
        once = [
            one["name"]
            for one in about
            if one["in"] == "query" and one["schema"].get("type") != "array"
        ]
        for name in once:
            answer = place.client.open(
                addressed(route.rule, defaultdict(lambda: "1", things.ids)),
                method=route.method,
                query_string=[(name, "1"), (name, "2")],
                json=BODIES.get(str(route)),
                headers=operator,
            )
            if answer.status_code != 422 or f"Give “{name}” once." not in answer.text:
                wrong[f"{route} {name}"] = answer.status_code, answer.text[:200]

    assert wrong == {}
    assert everything() == before


def test_the_parameters_that_a_list_knows_are_named(place, operator):
    refused = place.client.get("/api/v1/batches?colour=blue&limit=5&size=7", headers=operator)
    none = place.client.get("/api/v1/seller?colour=blue", headers=operator)

    assert refused.json["errors"] == [
        {
            "field": name,
            "message": f"There is no parameter “{name}” here; there are cursor, limit, pool, sort.",
        }
        for name in ("colour", "size")
    ]
    assert none.json["detail"].endswith("There is no parameter “colour” here; there are none.")


def test_nobody_without_a_token_learns_which_parameters_there_are(place):
    assert place.client.get("/api/v1/batches?colour=blue").status_code == 401


@pytest.mark.parametrize("rule", CLEARED)
def test_null_clears_what_can_be_empty(place, things, operator, rule):
    path = addressed(rule, things.ids)

    for field, empty in CLEARED[rule].items():
        changed = place.client.patch(path, json={field: None}, headers=operator)
        shown = place.client.get(path, headers=operator).json
        assert (changed.status_code, shown[field]) == (200, empty), field


@pytest.mark.parametrize("rule", CLEARED)
def test_null_is_refused_where_nothing_can_be_empty(place, things, operator, rule):
    path, before = addressed(rule, things.ids), everything()

    for field in fields_of(place, rule) - CLEARED[rule].keys():
        answer = place.client.patch(path, json={field: None}, headers=operator)
        assert (answer.status_code, answer.json["field"]) == (422, field)
    assert everything() == before


def test_every_patch_is_tried_with_null(place):
    assert {route.rule for route in routes(place) if route.method == "PATCH"} == CLEARED.keys()


def test_an_organization_without_a_parent_is_a_root_again(place, things, operator):
    made = {"name": "Below", "parent": things.ids["organization"]}
    below = place.client.post("/api/v1/organizations", json=made, headers=operator).json
    path = f"/api/v1/organizations/{below['id']}"

    untouched = place.client.patch(path, json={"legal_name": "Below GmbH"}, headers=operator).json
    root = place.client.patch(path, json={"parent": None}, headers=operator).json

    assert untouched["parent"] == things.ids["organization"]
    assert root["parent"] is None


@pytest.mark.parametrize(
    "number", ["1_0", " 5", "5 ", "+5", "٥", "５", "5.0", "1e1", "", True, 1.5]
)
def test_a_whole_number_is_digits_alone(place: Place, things: Things, operator: Any, number: Any):
    if isinstance(number, str):
        listed = place.client.get(
            "/api/v1/batches", query_string={"limit": number}, headers=operator
        )
        assert (listed.status_code, listed.json["field"]) == (422, "limit")
    body = {"content_availability_days": number}
    changed = place.client.patch(f"/api/v1/pools/{things.ids['pool']}", json=body, headers=operator)

    assert (changed.status_code, changed.json["field"]) == (422, "content_availability_days")


@pytest.mark.parametrize("amount", ["1_000", "1e2", "٤٩", "-0", "+5", " 5", "5 ", "1,5", 49.9])
def test_an_amount_is_a_plain_decimal(place, things, operator, amount):
    body = {"course": things.ids["course"], "price": amount, "currency": "EUR"}
    price = place.client.post("/api/v1/prices", json=body, headers=operator)
    path = addressed("/api/v1/organizations/<organization>", things.ids)
    rate = place.client.patch(path, json={"tax_rate": amount}, headers=operator)

    assert (price.status_code, price.json["field"]) == (422, "price")
    assert (rate.status_code, rate.json["field"]) == (422, "tax_rate")
