"""Whether the time of a function grows no faster than its input: by ratios, on any machine."""

import time
from collections.abc import Callable

SMALL, LARGE = 1_500, 6_000  # characters
ROUNDS = 5  # each must find it: a machine that is busy once makes one of them wrong
SOON = 0.0004  # seconds of processor for the small input: it takes less, unless it is quadratic
TIMES = (LARGE / SMALL) ** 1.5  # between linear growth (4) and quadratic growth (16)


def grows_too_fast(function: Callable[[int], object]) -> bool:
    """Say whether four times the input takes much more than four times the processor time.

    The function is given a size. The least of several runs counts, in this thread's own processor time,
    so that other processes do not matter; and each of several rounds must find it.
    """
    return all(_grew_too_fast(function) for _ in range(ROUNDS))


def _grew_too_fast(function: Callable[[int], object]) -> bool:
    if min(_took(function, 24) for _ in range(2)) > 0.05:
        return True  # exponential: never tried with more
    if _took(function, SMALL) < SOON:
        return False
    small = min(_took(function, SMALL) for _ in range(3))
    large = min(_took(function, LARGE) for _ in range(3))
    return large > small * TIMES


def _took(function: Callable[[int], object], size: int) -> float:
    begun = time.thread_time()
    function(size)
    return time.thread_time() - begun
