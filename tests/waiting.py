"""Waiting for what must come: for the condition and not by the clock, since a machine has other work."""

import time
from collections.abc import Callable

LONGEST = 120  # seconds; against a hang only


def eventually(condition: Callable[[], object], *, seconds: float = LONGEST) -> bool:
    """Say whether something comes to hold."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
