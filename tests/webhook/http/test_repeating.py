"""A POST with an Idempotency-Key is done once, however often it is sent, and answered as at first."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from werkzeug.test import TestResponse

from tests.webhook.conftest import Place, redemption, settle
from tests.world import OPERATOR
from worker.database import connections as databases
from worker.learning import learners
from worker.tenancy import answers
from worker.tenancy.actors import Role

POOL = {
    "name": "Once",
    "course": "K8S-101",
    "starts_at": "2026-01-01",
    "expires_at": "2027-12-31",
    "content_availability_days": 30,
}
GIVEN_AGAIN = "Idempotency-Replayed"


@pytest.fixture
def manager(place: Place) -> dict[str, str]:
    return place.token(Role.MANAGER)


@pytest.fixture
def pool(place: Place) -> dict[str, Any]:
    """A new pool for the parent: what to post, its name the test's own."""
    with databases.session() as session:
        course = session.scalar(text("SELECT code FROM course LIMIT 1"))
        count = session.scalar(text("SELECT count(*) FROM pool"))
    own = {"name": f"Once {count}", "course": course, "organization": str(place.world.parent)}
    return POOL | own


def post(place: Place, path: str, headers: dict[str, str], key: str, **body: Any) -> TestResponse:
    return place.client.post(
        f"/api/v1/{path}", headers=headers | {"Idempotency-Key": key}, **(body or {"json": {}})
    )


def pools_called(name: str) -> int:
    with databases.session() as session:
        return int(
            session.execute(
                text("SELECT count(*) FROM pool WHERE name = :name"), {"name": name}
            ).scalar_one()
        )


def test_the_same_request_again_is_done_once_and_answered_as_at_first(place, manager, pool):
    first = post(place, "pools", manager, "order-1", json=pool)
    place.client.patch(
        f"/api/v1/pools/{first.json['id']}", json={"name": "Renamed"}, headers=manager
    )

    again = post(place, "pools", manager, "order-1", json=pool)

    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.data, again.mimetype) == (first.data, first.mimetype)
    assert GIVEN_AGAIN not in first.headers
    assert again.headers[GIVEN_AGAIN] == "true"
    assert "Content-Security-Policy" in again.headers
    assert pools_called(pool["name"]) == 0


@pytest.mark.parametrize("other", ["body", "path", "query", "type"])
def test_a_key_that_comes_with_another_request_is_refused(place, manager, pool, other):
    post(place, "pools", manager, f"other-{other}", json=pool)
    told = {
        "body": ("pools", {"json": pool | {"name": "Other"}}),
        "path": ("tokens", {"json": pool}),
        "query": ("pools?x=1", {"json": pool}),
        "type": ("pools", {"json": pool, "content_type": "application/merge-patch+json"}),
    }

    path, body = told[other]
    answer = post(place, path, manager, f"other-{other}", **body)

    assert (answer.status_code, answer.json["type"]) == (422, "/problems/idempotency_key_reused")
    assert pools_called("Other") == 0


def test_another_tokens_key_is_another_key(place, manager, pool):
    other = place.token(Role.MANAGER)
    post(place, "pools", manager, "shared", json=pool)

    answer = post(place, "pools", other, "shared", json=pool)

    assert answer.json["type"] == "/problems/already_exists"


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "schlüssel"])
def test_what_is_no_key_is_refused(place, manager, pool, key):
    answer = post(place, "pools", manager, key, json=pool)

    assert (answer.status_code, answer.json["field"]) == (422, "Idempotency-Key")


def test_what_was_refused_may_be_sent_again_mended_under_its_key(place, manager, pool):
    refused = post(place, "pools", manager, "mended", json=pool | {"course": "NONE"})

    mended = post(place, "pools", manager, "mended", json=pool)

    assert (refused.status_code, mended.status_code) == (404, 201)


def test_a_secret_is_shown_again_and_never_kept_in_clear(place, manager):
    body = {"name": "once", "role": "sender", "organization": str(place.world.parent)}

    first = post(place, "tokens", manager, "secret", json=body).json
    again = post(place, "tokens", manager, "secret", json=body).json

    with databases.session() as session:
        kept = session.scalars(text("SELECT encode(encrypted, 'escape') FROM answer")).all()
    assert again["token"] == first["token"]
    assert kept
    assert not any("once" in row or first["token"] in row for row in kept)


def test_a_file_is_imported_once_and_its_report_given_again(place, manager):
    path, body = (
        f"pools/{place.world.pool}/keys",
        {"data": "ONCE-AAA-1\n", "content_type": "text/plain"},
    )

    first = post(place, path, manager, "file", **body)
    again = post(place, path, manager, "file", **body)
    other = post(place, path, manager, "file", **body | {"data": "ONCE-AAA-2\n"})

    assert (first.json["added"], first.json["already_exists"]) == (1, 0)
    assert again.json == first.json
    assert other.json["type"] == "/problems/idempotency_key_reused"


def test_a_batch_is_begun_once_and_found_where_it_was(place, manager):
    path = f"pools/{place.world.pool}/keys"

    first = post(place, path, manager, "batch", json={"generate": 3})
    again = post(place, path, manager, "batch", json={"generate": 3})

    assert (again.status_code, again.json) == (202, first.json)
    assert again.headers["Location"] == first.headers["Location"]


def test_a_billing_run_is_answered_as_at_first(place, sender):
    operator, [key] = place.token(Role.OPERATOR), place.keys()
    sender.post(redemption(key, "run-once@example.com"))
    settle()
    with databases.session() as session:
        body = {"month": session.scalar(text("SELECT to_char(clock_now(), 'YYYY-MM')"))}

    first = post(place, "invoices/run", operator, "run", json=body).json
    again = post(place, "invoices/run", operator, "run", json=body).json

    assert first["charges"] == 1
    assert again == first


def test_a_request_whose_key_is_in_use_waits_for_its_turn(place, manager, pool):
    with databases.session() as session:
        newest = session.scalar(text("SELECT max(id) FROM token"))
        answers.begin(session, token_id=newest, key="busy", request=b"")

        busy = post(place, "pools", manager, "busy", json=pool)
        session.rollback()

    later = post(place, "pools", manager, "busy", json=pool)
    assert (busy.status_code, busy.json["type"]) == (409, "/problems/idempotency_key_in_use")
    assert busy.headers["Retry-After"] == "1"
    assert later.status_code == 201


def test_of_many_at_once_one_is_done(place, manager, pool):
    start = threading.Barrier(8)

    def ask(_n: int) -> TestResponse:
        start.wait()
        client = place.client.application.test_client()
        headers = manager | {"Idempotency-Key": "race"}
        return client.post("/api/v1/pools", json=pool, headers=headers)

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(ask, range(8)))

    made = [answer for answer in told if answer.status_code == 201]
    assert {answer.status_code for answer in told} <= {201, 409}
    assert len({answer.data for answer in made}) == 1
    assert sum(GIVEN_AGAIN not in answer.headers for answer in made) == 1
    assert pools_called(pool["name"]) == 1


def test_nothing_is_done_whose_answer_cannot_be_remembered(place, manager, pool):
    with databases.session() as session:
        session.execute(text("LOCK TABLE answer IN EXCLUSIVE MODE"))

        lost = post(place, "pools", manager, "crash", json=pool)

    assert lost.status_code == 409
    assert pools_called(pool["name"]) == 0
    assert post(place, "pools", manager, "crash", json=pool).status_code == 201


def test_an_answer_is_kept_for_its_time(place, manager, pool):
    first = post(place, "pools", manager, "old", json=pool)
    with databases.session() as session:
        early = answers.remove_old(session, kept=timedelta(hours=1), limit=10)
        session.execute(text("UPDATE answer SET answered_at = answered_at - interval '1 hour'"))
        late = answers.remove_old(session, kept=timedelta(hours=1), limit=1000)

    anew = post(place, "pools", manager, "old", json=pool)

    assert first.status_code == 201
    assert early == 0
    assert late >= 1
    assert anew.json["type"] == "/problems/already_exists"


def test_erasing_a_person_forgets_what_answers_said_of_them(place, manager, sender):
    [key] = place.keys()
    event = sender.post(redemption(key, "forgotten@example.com")).json["event"]
    settle()
    held = place.client.get(f"/api/v1/events/{event}", headers=manager).json["assignment"]
    path = f"assignments/{held}/extend"
    first = post(place, path, manager, "extend", json={"days": 1})
    with databases.session() as session:
        learners.erase(session, actor=OPERATOR, email="forgotten@example.com")

    again = post(place, path, manager, "extend", json={"days": 1})

    assert first.json["learner"] == "forgotten@example.com"
    assert (again.status_code, again.json["type"]) == (409, "/problems/answer_forgotten")
