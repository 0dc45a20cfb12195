"""Keys that count up: whoever has one of them can guess the others."""

from collections import defaultdict
from collections.abc import Sequence
from string import digits

FEWEST = 3  # keys that tell a series from chance
MOST_OF_THEM = 0.9
DENSE = 0.1  # share of guesses between two keys of a series that would hit one


def warning(keys: Sequence[str]) -> str | None:
    """Say in a sentence that most of some keys differ by a number that counts up; None if they do not."""
    numbers: dict[str, dict[int, str]] = defaultdict(dict)
    for key in keys:
        before = key.rstrip(digits)
        if len(before) < len(key):
            numbers[before.upper()][int(key[len(before) :])] = key
    series = max(numbers.values(), key=len, default={})
    first, last = min(series, default=0), max(series, default=0)
    dense = len(series) >= DENSE * (last - first + 1)
    if len(series) < max(FEWEST, MOST_OF_THEM * len(keys)) or not dense:
        return None
    return (
        f"The keys count up ({series[first]} to {series[last]}), so whoever has one can guess others; "
        "generated keys cannot be guessed."
    )
