"""A warning where the keys of an input count up."""

import pytest

from worker.pools import codes
from worker.pools.reading import series


@pytest.mark.parametrize(
    "keys",
    [
        ["WELCOME-2026-0001", "WELCOME-2026-0002", "WELCOME-2026-0003"],
        ["KURS 00000010", "kurs 00000020", "KURS 00000030"],
        [f"PASS-{n * 7 % 500:06}" for n in range(200)],
        [*(f"2026{n:05}" for n in range(20)), "SPECIAL-GUEST-1"],
    ],
    ids=["one after the other", "in tens, in any case", "in any order", "with one other"],
)
def test_whoever_gives_keys_that_count_up_is_warned(keys: list[str]) -> None:
    told = series.warning(keys)

    assert told
    assert told.startswith(f"The keys count up ({min(keys)} to ")
    assert "so whoever has one can guess others" in told


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["WELCOME-2026-0001", "WELCOME-2026-0002"],
        ["PASS-104729", "PASS-611953", "PASS-919393"],
        ["ALDER-01", "BIRCH-01", "CEDAR-01", "DOGWOOD-01"],
        [code.decode() for code in codes.draw(codes.first_letters(200)).tolist()],
    ],
    ids=["none", "too few to tell", "far apart", "other words", "generated"],
)
def test_nobody_is_warned_of_other_keys(keys: list[str]) -> None:
    assert series.warning(keys) is None
