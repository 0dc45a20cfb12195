"""Every row of the receiver's table of answers."""

import json
import time

import pytest
from sqlalchemy import text

from tests.webhook.conftest import NOW, Sender, redemption, settle
from worker import signatures
from worker.database import connections as databases
from worker.database.connections import Login


def events(source: int) -> int:
    with databases.session() as session:
        return session.execute(
            text("SELECT count(*) FROM event WHERE source_id = :id"), {"id": source}
        ).scalar_one()


def test_a_signed_message_is_recorded_and_answered_202_with_its_events_address(sender):
    answer = sender.post(redemption())

    assert answer.status_code == 202
    event = answer.json["event"]
    assert answer.json == {"event": event, "status": "recorded", "url": f"/api/v1/events/{event}"}
    assert events(sender.source) == 1


def test_the_same_message_again_is_the_same_event_and_recorded_once(sender):
    first = sender.post(redemption(), webhook_id="again")

    second = sender.post(redemption(), webhook_id="again")

    assert (second.status_code, second.json) == (202, first.json)
    assert events(sender.source) == 1


def test_the_same_message_once_decided_is_answered_200_with_the_event(place, sender):
    [key] = place.keys()
    first = sender.post(redemption(key), webhook_id="decided")
    settle()

    second = sender.post(redemption(key), webhook_id="decided")

    assert second.status_code == 200
    assert second.json["event"] == second.json["id"] == first.json["event"]
    assert second.json["outcome"] == "redeemed"
    assert second.json["assignment"]
    assert second.json["access_expires_at"].endswith("Z")


def test_a_webhook_id_with_another_body_is_answered_409(sender):
    sender.post(redemption("FIRST-KEY-1"), webhook_id="reused")

    answer = sender.post(redemption("OTHER-KEY-1"), webhook_id="reused")

    assert answer.status_code == 409
    assert answer.json["type"] == "/problems/webhook_id_reused"
    assert events(sender.source) == 1


def test_the_same_webhook_id_of_two_sources_is_two_messages(place, sender):
    both = (sender, place.sender())

    answers = [one.post(redemption(), webhook_id="shared").json["event"] for one in both]

    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"key=value",
        b'{"type": NaN}',
        b'{"type": "a", "type": "b"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"[" * 60_000,
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b'{"type": ' + b"9" * 5000 + b"}",
        b'{"type": "redemption.requested", "a": "\\u0000"}',
        b'{"type": "redemption.requested", "a": "\\ud800"}',
        b'{"type": "\x00"}',
    ],
)
def test_what_is_not_json_or_is_hostile_is_answered_400_and_not_recorded(sender, raw):
    answer = sender.post(None, raw=raw)

    assert answer.status_code == 400
    assert answer.json["type"] == "/problems/not_json"
    assert events(sender.source) == 0


def test_over_64_kib_is_answered_413(sender):
    answer = sender.post(redemption(filler="x" * 65_536))

    assert answer.status_code == 413


def test_64_kib_are_taken(sender):
    empty = len(json.dumps(redemption(filler="")))

    answer = sender.post(redemption(filler="x" * (65_536 - empty)))

    assert answer.status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "text/plain"},
        {"Content_Type": None},
        {"Content_Type": "application/json; charset=utf-16"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Encoding": "gzip"},
        {"Content_Encoding": "identity"},
    ],
)
def test_another_type_or_an_encoding_is_answered_415(sender, headers):
    assert sender.post(redemption(), **headers).status_code == 415


def test_json_with_its_charset_named_is_taken(sender):
    answer = sender.post(redemption(), Content_Type="application/json; charset=UTF-8")

    assert answer.status_code == 202


def launched(**data: object) -> object:
    return {"type": "training.launched", "timestamp": NOW, "data": data}


def ended(**data: object) -> object:
    return {"type": "training.ended", "timestamp": NOW, "data": data}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "type"),
        ([], None),
        ("text", None),
        (None, None),
        ({"type": "pool.created", "timestamp": NOW, "data": {}}, "type"),
        ({"type": 7, "timestamp": NOW, "data": {}}, "type"),
        ({"type": "redemption.requested", "data": redemption()["data"]}, "timestamp"),
        (redemption() | {"timestamp": 0}, "timestamp"),
        (redemption() | {"timestamp": "1700000000"}, "timestamp"),
        (redemption() | {"timestamp": "2026-03-01"}, "timestamp"),
        (redemption() | {"timestamp": "2026-03-01T09:30:00"}, "timestamp"),
        (redemption() | {"timestamp": "0000-01-01T00:00:00Z"}, "timestamp"),
        (redemption() | {"timestamp": "2026-02-30T00:00:00Z"}, "timestamp"),
        (redemption() | {"data": None}, "data"),
        (redemption() | {"data": {}}, "data.key"),
        (redemption(key=""), "data.key"),
        (redemption(key=12345678), "data.key"),
        (redemption(key="x" * 257), "data.key"),
        (redemption(email="nobody"), "data.learner.email"),
        (redemption(email=""), "data.learner.email"),
        (redemption(email="a b@example.com"), "data.learner.email"),
        (redemption(email="a@" + "x" * 400), "data.learner.email"),
        (redemption(learner="ann@example.com"), "data.learner"),
        (redemption(learner={"name": "Ann"}), "data.learner.email"),
        (redemption(organization="No such place"), "data.organization"),
        (redemption(organization=7), "data.organization"),
        (launched(), "data.assignment"),
        (launched(assignment="x", launch="l", launched_at=NOW), "data.assignment"),
        (launched(assignment="9" * 19, launch="l", launched_at=NOW), "data.assignment"),
        (launched(assignment=True, launch="l", launched_at=NOW), "data.assignment"),
        (launched(assignment="1", launch="", launched_at=NOW), "data.launch"),
        (launched(assignment="1", launch="l", launched_at=1700000000), "data.launched_at"),
        (ended(launch="l"), "data.ended_at"),
        (ended(launch="l", ended_at=NOW, completed="yes"), "data.completed"),
        (ended(launch="l", ended_at=NOW, completed=1), "data.completed"),
        (ended(launch="l", ended_at=NOW, score="90"), "data.score"),
        (ended(launch="l", ended_at=NOW, score=10**39), "data.score"),
        (ended(launch="l", ended_at=NOW, score=1e300), "data.score"),
    ],
)
def test_json_that_is_not_a_message_we_know_is_answered_422_with_the_field(sender, document, field):
    answer = sender.post(document)

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert answer.json["type"] == "/problems/invalid_input"
    assert answer.json.get("field") == field
    assert events(sender.source) == 0


@pytest.mark.parametrize(
    "document",
    [
        redemption(more={"deep": [1, 2]}, learner={"email": "a@example.com", "age": 7}),
        redemption(learner={"email": "  Ann@Example.COM ", "name": "Ännchen 👩🏽‍💻 \u200f"}),
        redemption(learner={"email": "a@example.com", "name": None}, organization=None),
        redemption(learner={"email": "a@example.com", "name": ""}),
        launched(assignment="1", launch="l-1", launched_at="2026-03-01T10:30:00.123456789+01:00"),
        launched(assignment=1, launch="l-2", launched_at="2026-03-01T10:30+0100"),
        ended(launch="l-3", ended_at=NOW, completed=True, score=90),
        ended(launch="l-4", ended_at=NOW, completed=None, score=89.5),
    ],
)
def test_messages_we_know_are_taken_and_unknown_fields_ignored(sender, document):
    assert sender.post(document).status_code == 202


def test_a_descendant_may_be_named_as_the_learners_organization(place, sender):
    answer = sender.post(redemption(organization=_name(place.world.child)))

    assert answer.status_code == 202


def test_a_stranger_may_not_be_named_as_the_learners_organization(place, sender):
    answer = sender.post(redemption(organization=_name(place.world.sibling)))

    assert answer.status_code == 422


def every_way_of_not_being_known(sender: Sender) -> dict[str, dict[str, object]]:
    now = int(time.time())
    return {
        "unknown source": {"path": "/webhooks/999999999"},
        "no number for a source": {"path": "/webhooks/nobody"},
        "a source beyond all numbers": {"path": "/webhooks/" + "9" * 40},
        "a source with a NUL's worth of trickery": {"path": "/webhooks/1%E2%80%A8"},
        "no id": {"webhook_id": "x", "webhook-id": None},
        "an id with a dot": {"webhook_id": "a.b"},
        "a long id": {"webhook_id": "x" * 129},
        "no timestamp": {"webhook-timestamp": None},
        "a timestamp in words": {"webhook-timestamp": "now"},
        "a timestamp in milliseconds": {"webhook-timestamp": str(now * 1000)},
        "another digit than ASCII's": {"webhook-timestamp": "١٧٠٠٠٠٠٠٠٠"},
        "a stale timestamp": {"at": now - 310},
        "a future timestamp": {"at": now + 310},
        "no signature": {"webhook-signature": None},
        "an empty signature": {"webhook-signature": ""},
        "a malformed signature": {"webhook-signature": "v1"},
        "another's signature": {"webhook-signature": signatures.sign(b"x" * 32, "a", now, b"")},
        "nine signatures": {"webhook-signature": " ".join(["v1,AAAA"] * 9)},
        "a long signature": {"webhook-signature": "v1," + "A" * 1100},
        "a signature that is not ASCII": {"webhook-signature": "v1,é"},
    }


def test_every_way_of_not_being_known_is_the_same_401_byte_for_byte(sender):
    answers = {
        why: sender.post(redemption(), **how)
        for why, how in every_way_of_not_being_known(sender).items()
    }

    for answer in answers.values():
        del answer.headers["X-Request-Id"]  # each has its own
    told = {why: (a.status_code, a.data, sorted(a.headers.items())) for why, a in answers.items()}
    assert {status for status, *_ in told.values()} == {401}, told
    assert len({repr(answer) for answer in told.values()}) == 1
    assert events(sender.source) == 0


@pytest.mark.parametrize("skew", [-299, -240, 240, 298])
def test_clocks_may_differ_by_five_minutes(sender, skew):
    assert sender.post(redemption(), at=int(time.time()) + skew).status_code == 202


def test_an_unverified_body_is_not_even_looked_at(sender):
    answer = sender.post(None, raw=b"not json", webhook_signature="v1,AAAA")

    assert answer.status_code == 401


def test_every_answer_carries_security_headers_and_no_answer_redirects(sender):
    answers = [
        sender.post(redemption()),
        sender.client.post("/webhooks/1/"),
        sender.client.post("//webhooks/1"),
        sender.client.get("/webhooks/1"),
    ]

    assert [a.status_code for a in answers] == [202, 404, 404, 405]
    assert {a.headers["X-Content-Type-Options"] for a in answers} == {"nosniff"}
    assert {a.content_type for a in answers[1:]} == {"application/problem+json"}


def _name(organization: int) -> str:
    with databases.session() as session:
        return session.execute(
            text("SELECT name FROM organization WHERE id = :id"), {"id": organization}
        ).scalar_one()


def test_a_connection_that_broke_in_the_pool_is_replaced(place):
    with databases.connection(Login.WEB) as lent:
        pass
    lent.close()

    with databases.connection(Login.WEB) as another:
        assert another.execute("SELECT 1").fetchone() == (1,)
