"""Signals that end a process arrive whatever it is at."""

import signal
import time

import pytest

from worker.machine.signals import exiting_when_told, interruptible


class Struck:
    """What a signal strikes while it is destroyed."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def strike_and_wait(number: int) -> None:
    """Have a signal strike within a destructor, and go on for half a minute."""
    until = time.monotonic() + 30
    Struck(number)
    while time.monotonic() < until:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_within_a_destructor_ends_the_process_all_the_same(number, raised) -> None:
    with pytest.raises(raised), exiting_when_told(), interruptible():
        strike_and_wait(number)
