"""What a process counted is carried to the sums of all, by one thread."""

import threading

import pytest

from webhook.http import counting
from worker import broker


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_thread_of_a_process_carries_however_many_requests_begin_it(monkeypatch):
    carried = threading.Semaphore(0)

    def carry() -> None:
        carried.release()
        raise SystemExit  # of the thread: it would go on into other tests

    monkeypatch.setattr(broker, "carry", carry)
    monkeypatch.setattr(counting, "CARRY_SECONDS", 0)
    carrier = counting.Carrier()

    for _ in range(3):
        carrier.begin()

    assert carried.acquire(timeout=60)
    assert not carried.acquire(timeout=0.2)
    for thread in threading.enumerate():
        if thread.name == "carrier":
            thread.join()  # here its end is expected, and in another test it would be a warning


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_round_that_fails_is_followed_by_the_next(monkeypatch):
    rounds = []

    def carry() -> None:
        rounds.append(len(rounds))
        raise ValueError if len(rounds) == 1 else SystemExit

    monkeypatch.setattr(broker, "carry", carry)
    monkeypatch.setattr(counting, "CARRY_SECONDS", 0)

    counting.Carrier().begin()

    for thread in threading.enumerate():
        if thread.name == "carrier":
            thread.join(timeout=60)
    assert rounds == [0, 1]
