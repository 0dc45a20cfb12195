"""What learners are told in the language that a request asks for, and what its answer says of that."""

from typing import Any

import pytest
from sqlalchemy import text

from tests.webhook.conftest import Place, redemption, settle
from worker.database import connections as databases
from worker.tenancy.actors import Role

SAID = {
    "en": "Access ends on ",
    "de": "Der Zugang endet am ",
    "fr": "L’accès prend fin le ",
    "es": "El acceso termina el ",
}


def change(statement: str, **values: Any) -> None:
    with databases.session() as session:
        session.execute(text(statement), values)


def locale(organization: int, locale: str, time_zone: str = "Europe/Berlin") -> None:
    change(
        "UPDATE organization SET locale = :locale, time_zone = :zone WHERE id = :id",
        locale=locale,
        zone=time_zone,
        id=organization,
    )


@pytest.fixture
def decided(place: Place) -> str:
    """An event that redeemed a key."""
    [key] = place.keys()
    answer = place.sender().post(redemption(key, f"{key}@example.com"))
    settle()
    return str(answer.json["event"])


@pytest.mark.parametrize("language", sorted(SAID))
def test_a_webhooks_answer_is_in_the_language_asked_for(place, sender, language):
    [key] = place.keys()
    locale(place.world.parent, "de")
    sender.post(redemption(key, f"{key}@example.com"), webhook_id=f"in-{language}")
    settle()

    answer = sender.post(
        redemption(key, f"{key}@example.com"),
        webhook_id=f"in-{language}",
        Accept_Language=f"ja, {language};q=0.5, en;q=0.1",
    )

    assert SAID[language] in answer.json["message"]
    assert answer.json["message"].endswith("(Europe/Berlin).")
    assert answer.headers["Content-Language"] == language
    assert answer.headers["Vary"] == "Accept-Language"


def test_without_a_language_asked_for_it_is_the_learners_organizations(place, sender):
    [key] = place.keys()
    locale(place.world.parent, "es")
    sender.post(redemption(key, f"{key}@example.com"), webhook_id="own")
    settle()

    answer = sender.post(redemption(key, f"{key}@example.com"), webhook_id="own")

    assert SAID["es"] in answer.json["message"]
    assert answer.headers["Content-Language"] == "es"


def test_a_child_is_told_when_its_parents_pool_opens(place):
    world = place.world
    sender = place.sender(world.child)
    locale(world.child, "en", "America/New_York")
    change("UPDATE pool SET share_with_children = true, starts_at = '2080-12-01T05:00Z'")
    [key] = place.keys()
    sender.post(redemption(key), webhook_id="early")
    settle()

    answer = sender.post(redemption(key), webhook_id="early")

    change("UPDATE pool SET starts_at = '2020-01-01'")
    assert answer.json["message"] == (
        "The key cannot be redeemed before 1 Dec 2080 (America/New_York)."
    )


def test_events_and_access_are_told_in_the_language_asked_for(place, client, decided):
    locale(place.world.parent, "en")
    headers = place.token(Role.MANAGER)
    asking = headers | {"Accept-Language": "fr"}

    event = client.get(f"/api/v1/events/{decided}", headers=asking)
    address = f"/api/v1/assignments/{event.json['assignment']}"
    assignment = client.get(address, headers=asking)
    access = client.get(f"{address}/access", headers=asking)
    own = client.get(f"{address}/access", headers=headers)

    for answer in (event, assignment, access):
        assert SAID["fr"] in answer.json["message"]
        assert answer.headers["Content-Language"] == "fr"
    assert own.json["message"].startswith(SAID["en"])
    assert assignment.headers["ETag"] != client.get(address, headers=headers).headers["ETag"]


def test_what_is_unchanged_says_that_it_hangs_on_the_language(place, client, decided):
    headers = place.token(Role.MANAGER) | {"Accept-Language": "de"}
    tag = client.get(f"/api/v1/events/{decided}", headers=headers).headers["ETag"]

    again = client.get(f"/api/v1/events/{decided}", headers=headers | {"If-None-Match": tag})
    french = client.get(
        f"/api/v1/events/{decided}",
        headers=headers | {"If-None-Match": tag, "Accept-Language": "fr"},
    )

    assert (again.status_code, again.headers["Vary"]) == (304, "Accept-Language")
    assert french.status_code == 200


def test_a_refused_launch_says_until_when_there_was_access(place, client, decided):
    locale(place.world.parent, "en")
    headers = place.token(Role.MANAGER) | {"Accept-Language": "de"}
    assignment = client.get(f"/api/v1/events/{decided}", headers=headers).json["assignment"]
    change(
        "UPDATE assignment SET redeemed_at = '2026-01-01', expires_at = '2026-02-26T10:10Z'"
        " WHERE id = :id",
        id=int(assignment),
    )

    answer = client.post(
        f"/api/v1/assignments/{assignment}/launches", json={"launch": "late"}, headers=headers
    )

    assert answer.status_code == 409
    assert answer.json["detail"] == "Der Zugang endete am 26. Feb. 2026, 11:10 (Europe/Berlin)."
    assert answer.headers["Content-Language"] == "de"


def test_cancelled_access_is_told_so_and_a_repeated_request_is_answered_in_its_first_language(
    place, client, decided
):
    headers = place.token(Role.MANAGER) | {"Accept-Language": "es"}
    assignment = client.get(f"/api/v1/events/{decided}", headers=headers).json["assignment"]
    address = f"/api/v1/assignments/{assignment}/cancel"
    once = headers | {"Idempotency-Key": f"cancel-{assignment}"}

    first = client.post(address, json={"reason": "a test"}, headers=once)
    again = client.post(
        address, json={"reason": "a test"}, headers=once | {"Accept-Language": "de"}
    )

    assert first.json["message"] == "El acceso al curso fue cancelado."
    assert again.json == first.json
    assert [answer.headers["Content-Language"] for answer in (first, again)] == ["es", "es"]


def test_what_a_key_would_come_to_is_told_in_the_language_asked_for(place, client):
    [key] = place.keys()
    headers = place.token(Role.MANAGER) | {"Accept-Language": "es;q=0.3, fr-CA"}

    answer = client.get(
        f"/api/v1/keys/{key}", query_string={"as": "bob@example.com"}, headers=headers
    )

    verdict = answer.json["dry_run"]
    assert verdict["message"].startswith("La clé est utilisée. L’accès prend fin le ")
    assert verdict["language"] == "fr"


def test_an_answer_without_a_sentence_for_learners_hangs_on_no_language(place, client):
    headers = place.token(Role.MANAGER) | {"Accept-Language": "de"}

    answer = client.get("/api/v1/pools", headers=headers)

    assert "Content-Language" not in answer.headers
    assert "Vary" not in answer.headers
