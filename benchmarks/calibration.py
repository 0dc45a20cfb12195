"""The calibration loop: fixed work before and after each round, which says how quiet the machine was.

Where others use the machine, the same work takes longer. Ratios within a round bear that; rates do not.
"""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

BLOCK = bytes(1 << 20)
BLOCKS = 64  # MiB that each processor hashes


def milliseconds() -> float:
    """Do the fixed work on all processors at once, and say how many milliseconds it took."""
    processors = os.cpu_count() or 1
    begun = time.perf_counter()
    with ThreadPoolExecutor(processors) as threads:
        list(threads.map(_hashed, range(processors)))
    return (time.perf_counter() - begun) * 1000


def summary(loops: list[float]) -> dict[str, float]:
    """Give the fastest, the median and the slowest of some loops, in milliseconds."""
    figures = {"fastest": min(loops), "median": median(loops), "slowest": max(loops)}
    return {name: round(figure, 1) for name, figure in figures.items()}


def _hashed(_number: int) -> bytes:
    hashing = hashlib.sha256()
    for _ in range(BLOCKS):
        hashing.update(BLOCK)  # without the interpreter's lock
    return hashing.digest()
