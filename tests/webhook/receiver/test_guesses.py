"""Limits on guessing: counted in the database, by source and by learner's address."""

import pytest

from tests.webhook.conftest import redemption, settle
from worker.settings import settings


@pytest.fixture(autouse=True)
def limits(monkeypatch, database):
    monkeypatch.setenv("KEYPOOL_GUESSES_PER_LEARNER", "3")
    monkeypatch.setenv("KEYPOOL_GUESSES_PER_SOURCE", "5")
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


def guess(sender, count, email="eve@example.com"):
    answers = [sender.post(redemption(f"WRONG-KEY-{n}", email)) for n in range(count)]
    settle()
    return [answer.status_code for answer in answers]


def test_a_learner_who_guessed_too_often_waits_with_any_key(place, sender):
    [key] = place.keys()
    guess(sender, 3)

    answer = sender.post(redemption(key, "Eve@Example.com"))

    assert answer.status_code == 429
    assert answer.json["type"] == "/problems/too_many_guesses"
    assert 0 < int(answer.headers["Retry-After"]) <= 600
    assert "eve@example.com" not in answer.text


def test_another_learner_of_the_same_source_does_not_wait(place, sender):
    [key] = place.keys()
    guess(sender, 3)

    assert sender.post(redemption(key, "ann@example.com")).status_code == 202


def test_a_source_that_guessed_too_often_waits(sender):
    for n in range(5):
        guess(sender, 1, email=f"eve{n}@example.com")

    assert sender.post(redemption(email="new@example.com")).status_code == 429


def test_one_source_never_exhausts_anothers_limit(place, sender):
    guess(sender, 3)

    assert place.sender().post(redemption(email="eve@example.com")).status_code == 202


def test_a_repeat_of_what_was_recorded_is_answered_as_ever(sender):
    first = sender.post(redemption(email="eve@example.com"), webhook_id="before")
    guess(sender, 3)

    again = sender.post(redemption(email="eve@example.com"), webhook_id="before")

    assert (again.status_code, again.json["event"]) == (200, first.json["event"])


def test_launches_are_not_throttled(sender):
    guess(sender, 3)
    launched = {
        "type": "training.launched",
        "timestamp": "2026-03-01T09:30:00Z",
        "data": {"assignment": "1", "launch": "a", "launched_at": "2026-03-01T09:30:00Z"},
    }

    assert sender.post(launched).status_code == 202


def test_guesses_are_forgotten_when_they_leave_the_window(sender, monkeypatch):
    guess(sender, 3)
    monkeypatch.setenv("KEYPOOL_GUESS_WINDOW", "0.001s")
    settings.cache_clear()

    assert sender.post(redemption(email="eve@example.com")).status_code == 202


def test_valid_redemptions_count_for_nothing(place, sender):
    for key in place.keys(8):
        assert sender.post(redemption(key, f"{key}@example.com")).status_code == 202
    settle()

    assert sender.post(redemption(email="one@example.com")).status_code == 202
