"""Forecasts of when a pool runs out, and their back-test on simulated history."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.reporting import forecasting
from worker.reporting.forecasting import Ending
from worker.simulation import attempts, grants, world
from worker.simulation.names import HOMES
from worker.simulation.seasons import DAY, Seasons

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "pools.py"

counts = st.lists(st.integers(0, 10_000), min_size=14, max_size=60).filter(lambda c: any(c[-28:]))
stocks = st.integers(1, 10_000_000)
spans = st.integers(1, 4000)


def test_a_steady_pace_goes_on():
    (its,) = [forecasting.forecast([5] * 28, stock=105, days_left=90)]

    assert its is not None
    assert (its.pace, its.ending) == (5.0, Ending(21, 0))
    assert its.early < its.ending < its.late


def test_keys_that_outlast_the_pool_are_counted():
    its = forecasting.forecast([5] * 28, stock=1000, days_left=90)

    assert its is not None
    assert its.ending == Ending(90, 550)


@pytest.mark.parametrize("days", [[], [9] * 13, [0] * 28, [7] + [0] * 28])
def test_little_is_no_ground_for_a_forecast(days):
    assert forecasting.forecast(days, stock=100, days_left=90) is None


def test_the_pace_is_that_of_the_last_28_days():
    its = forecasting.forecast([1000] * 40 + [2] * 28, stock=100, days_left=900)

    assert its is not None
    assert its.pace == 2.0


@given(counts, stocks, spans)
def test_the_likely_span_is_in_order_and_within_the_pools_days(days, stock, days_left):
    its = forecasting.forecast(days, stock=stock, days_left=days_left)

    assert its is not None
    assert its.early <= its.late
    for ending in (its.early, its.ending, its.late):
        assert 0 <= ending.left <= stock
        assert ending.day == days_left if ending.left else 0 <= ending.day < days_left


@given(counts, stocks, spans)
def test_more_keys_never_end_earlier(days, stock, days_left):
    less, more = (
        forecasting.forecast(days, stock=keys, days_left=days_left) for keys in (stock, stock + 1)
    )

    assert less is not None
    assert more is not None
    assert less.ending <= more.ending


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 200))
def test_how_a_pool_ended_is_told_by_its_days(days, stock):
    ending = forecasting.ended(days, stock=stock)

    if ending.left:
        assert ending == Ending(len(days), stock - sum(days))
    else:
        assert sum(days[: ending.day]) < stock <= sum(days[: ending.day + 1])


def test_eight_of_ten_truths_of_simulated_history_are_in_the_likely_span():
    sizes = ((7, 20, 24, 100_000), (3, 6, 24, 3_000))
    held = [
        inside
        for size in sizes
        for days in simulated(*size)
        for inside in forecasting.back_test(days)
    ]

    share = sum(held) / len(held)
    (told,) = re.findall(r"simulated history it is (\d+) %", NOTEBOOK.read_text())
    assert len(held) > 2000
    assert 0.75 <= share <= 0.85
    assert int(told) == round(100 * share)


def simulated(seed: int, organizations: int, months: int, number: int) -> list[list[int]]:
    """The redemptions of each simulated pool on the whole days on which it is open."""
    length = round(months * 365.25 / 12)
    last = datetime(2026, 11, 29, tzinfo=UTC)
    seasons = Seasons(last - timedelta(days=length), length, [zone for zone, _, _ in HOMES])
    rng = np.random.default_rng(seed)
    drawn = world.draw(
        rng, seasons, organizations=organizations, names_taken=set(), codes_taken=set()
    )
    granted = grants.draw(rng, seasons, drawn, number - sum(attempts.refused(number).values()))
    table = np.zeros((len(drawn.pools), length), int)
    np.add.at(table, (granted.pool, (granted.at - seasons.begin) // DAY), 1)
    return [
        days[max(0, -(-(pool.opens - seasons.begin) // DAY)) : (pool.closes - seasons.begin) // DAY]
        for pool, days in zip(drawn.pools, table.tolist(), strict=True)
    ]
