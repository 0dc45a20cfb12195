"""The client that compares each answer with the document: it fails where the two part."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.webhook.conftest import Place
from worker.pools import keys, pools
from worker.tenancy.actors import Role

ADDED = {"colour": "blue"}


@pytest.fixture(scope="module")
def manager(place: Place) -> dict[str, str]:
    return place.token(Role.MANAGER)


def changing(shape: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
    """Give what a domain function gives, with other fields, and without those given as ..."""

    def changed(*given: Any, **named: Any) -> Any:
        told = shape(*given, **named) | changes
        return {name: value for name, value in told.items() if value is not ...}

    return changed


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (ADDED, "colour"),
        ({"name": ...}, "name"),
        ({"share_with_children": "yes"}, "share_with_children"),
        ({"id": "seven"}, "id"),
        ({"state": "asleep"}, "state"),
        ({"starts_at": "2026-01-01 00:00"}, "starts_at"),
        ({"name": None}, "name"),
        ({"keys": {"issued": 1, "distributed": 0, "redeemed": 0}}, "retired"),
    ],
)
def test_an_answer_that_the_document_does_not_tell_of_fails_the_test(
    place, manager, monkeypatch, changes, told
):
    monkeypatch.setattr(pools, "shape", changing(pools.shape, **changes))

    with pytest.raises(AssertionError, match=f"GET /api/v1/pools/.* 200 is not as .*{told}"):
        place.client.get(f"/api/v1/pools/{place.world.pool}", headers=manager)


def test_each_row_of_a_list_is_compared(place, manager, monkeypatch):
    place.keys(2)
    monkeypatch.setattr(keys, "shape", changing(keys.shape, **ADDED))

    with pytest.raises(AssertionError, match=r"items\.1: .*colour"):
        place.client.get(f"/api/v1/pools/{place.world.pool}/keys", headers=manager)


def test_a_status_that_the_document_does_not_have_fails_the_test(place, manager, monkeypatch):
    rules = place.client.application.view_functions
    monkeypatch.setitem(rules, "pools.listing", lambda **_: ({"items": [], "next": None}, 206))

    with pytest.raises(AssertionError, match="answers 206, which the document does not have"):
        place.client.get("/api/v1/pools", headers=manager)


def test_a_problem_is_compared_too(place, monkeypatch):
    monkeypatch.setattr("webhook.http.problems._about", lambda _: ADDED)

    with pytest.raises(AssertionError, match="colour"):
        place.client.get("/api/v1/pools")


def test_an_answer_as_the_document_tells_passes(place, manager):
    answer = place.client.get(f"/api/v1/pools/{place.world.pool}", headers=manager)

    assert answer.status_code == 200
