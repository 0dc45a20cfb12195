"""Prefer: wait=N (RFC 7240)."""

import threading
import time

import pytest

from tests.webhook.conftest import redemption, settle
from webhook.http import waiting
from webhook.receiver import receiver


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5),
        ("WAIT = 5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=7", 7),
        ("respond-async; x=1, wait=7; y", 7),
        ("wait=10", 10),
        ("wait=11", 10),
        ("wait=999999", 10),
        ("wait=0", 0),
        ("wait=", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("nowait=5", None),
        ("wait=9999999", None),
        ("", None),
        (None, None),
    ],
)
def test_a_preference_is_read_as_rfc_7240_writes_it(header, seconds):
    assert waiting.preferred(header) == seconds


def test_an_event_that_is_decided_in_time_is_answered_200_with_its_outcome(place, sender):
    [key] = place.keys()
    settler = threading.Timer(0.2, settle)
    settler.start()

    answer = sender.post(redemption(key), Prefer="wait=10")

    settler.join()
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert answer.json["event"] == answer.json["id"]
    assert (answer.json["status"], answer.json["outcome"]) == ("settled", "redeemed")
    assert "Access ends" in answer.json["message"]


def test_an_event_that_is_not_decided_in_time_is_answered_202(sender):
    begun = time.monotonic()

    answer = sender.post(redemption(), Prefer="wait=1")

    assert 1 <= time.monotonic() - begun < waiting.MAX_SECONDS
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert answer.json["status"] == "recorded"


def test_a_repeat_waits_too(place, sender):
    [key] = place.keys()
    sender.post(redemption(key, "bo@example.com"), webhook_id="twice")
    settler = threading.Timer(0.2, settle)
    settler.start()

    answer = sender.post(redemption(key, "bo@example.com"), webhook_id="twice", Prefer="wait=10")

    settler.join()
    assert (answer.status_code, answer.json["outcome"]) == (200, "redeemed")


def test_where_all_seats_are_taken_the_preference_is_ignored(sender, monkeypatch):
    monkeypatch.setattr(receiver, "waiting_room", waiting.WaitingRoom(most=0))
    begun = time.monotonic()

    answer = sender.post(redemption(), Prefer="wait=10")

    assert time.monotonic() - begun < 10
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_nobody_looks_while_nobody_waits(sender):
    sender.post(redemption(), Prefer="wait=1")

    looking = [thread for thread in threading.enumerate() if thread.name == "waiting room"]
    for thread in looking:
        thread.join(60)

    assert not any(thread.is_alive() for thread in looking)
