"""Signals that end a process arrive whatever it is at."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import default_signals_in_children
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_child_of_a_run_that_ignores_a_signal_is_ended_by_it(number) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    with default_signals_in_children():
        os.kill(os.getpid(), number)  # what the run itself ignores goes on being ignored

        child = subprocess.run(
            [sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"], check=False
        )

    assert signal.signal(number, before) == signal.SIG_IGN
    assert child.returncode == -number
