"""Throttling sign-ins: pauses grow, wear off, and are no weapon."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from worker.tenancy import throttling
from worker.tenancy.throttling import Attempt

ANN = Attempt("ann@example.com", "192.0.2.7", "")


def seconds(session, attempt):
    return throttling.admit(session, attempt).wait.total_seconds()


def later(session, time):
    """Let time pass, by the true clock, which tests do not move."""
    session.execute(
        text("UPDATE sign_in_throttle SET last_at = last_at - CAST(:time AS interval)"),
        {"time": time},
    )


def test_after_five_failures_the_pauses_double_up_to_a_quarter_of_an_hour(session):
    free = [seconds(session, ANN) for _ in range(5)]
    pauses = []
    for _ in range(12):
        wait = seconds(session, ANN)
        pauses.append(round(wait))
        later(session, timedelta(seconds=wait))
        assert seconds(session, ANN) == 0

    assert free == [0] * 5
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 900


def test_trying_on_while_one_has_to_wait_lengthens_no_pause(session):
    for _ in range(5):
        seconds(session, ANN)

    first = [seconds(session, ANN) for _ in range(50)]
    later(session, timedelta(seconds=1))

    assert set(first) == {1}
    assert seconds(session, ANN) == 0


def test_addresses_in_any_spelling_are_one_account(session):
    for _ in range(5):
        seconds(session, replace(ANN, email=" ANN@Example.com"))

    assert seconds(session, ANN) == 1


def test_failures_from_one_network_leave_the_account_free_elsewhere(session):
    for _ in range(5):
        seconds(session, ANN)

    assert seconds(session, replace(ANN, client="198.51.100.1")) == 0


def test_one_account_tried_from_everywhere_waits_a_minute_at_most(session):
    for number in range(50):
        seconds(session, replace(ANN, client=f"192.0.2.{number}"))
    session.execute(text("UPDATE sign_in_throttle SET failures = failures * 10"))

    assert 0 < seconds(session, replace(ANN, client="198.51.100.1")) <= 60


def test_one_client_that_tries_many_accounts_has_to_wait(session):
    tried = [seconds(session, replace(ANN, email=f"{n}@example.com")) for n in range(101)]

    assert tried == [0] * 100 + [1]


@pytest.mark.parametrize(("passed", "wait"), [(timedelta(minutes=50), 0), (timedelta(), 1)])
def test_failures_wear_off_one_at_a_time(session, passed, wait):
    for number in range(100):
        seconds(session, replace(ANN, email=f"{number}@example.com"))

    later(session, passed)

    assert seconds(session, replace(ANN, email="other@example.com")) == wait


def test_a_success_forgets_the_accounts_failures_and_takes_its_own_back_from_the_client(session):
    for number in range(99):
        seconds(session, replace(ANN, email=f"{number}@example.com"))
    admitted = throttling.admit(session, ANN)

    throttling.forgive(session, ANN, is_known=admitted.is_known)

    assert seconds(session, ANN) == 0
    assert seconds(session, replace(ANN, email="other@example.com")) == 1


def test_what_wore_off_is_swept(session):
    seconds(session, ANN)
    later(session, timedelta(hours=25))
    seconds(session, replace(ANN, email="new@example.com"))

    swept = throttling.remove_old(session, limit=100)

    assert swept == 2  # the pair and the account; the client was seen again
