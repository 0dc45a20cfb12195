"""When a pool runs out: its pace, and how far the pace may be wrong. Pure arithmetic on counts by day.

The pace is the mean of the days that count. Its error is estimated by resampling their weeks, as
overlapping runs of seven days that go round the end (the circular block bootstrap of Politis and
Romano, 1992). Of n weeks, deviations are too small by sqrt((n - 1) / n), and the weeks to come vary as
those behind: for a forecast h weeks ahead, both together are sqrt(n / (n - 1) * (1 + n / h)). Seasons
come on top, of which four weeks know nothing: a log-normal factor, whose deviation grows with the square
root of the time ahead (`DRIFT`). tests/worker/reporting/test_forecasting.py measures on simulated history
how many truths are inside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DAYS = 28  # before the forecast; of them, those count on which the pool was open
WEEK = 7
FEWEST = 2  # weeks without which nothing is said
DRAWS = 1000
LIKELY = (0.1, 0.9)  # of the drawn paces: eight of ten are between
HORIZONS = (14, 28, 56)  # days that a stock would have lasted, in the back-test
DRIFT = (
    0.22  # what a pace changes by in four weeks, as a part of itself; fitted to simulated history
)


class Ending(NamedTuple):
    """How a pool ends; a later ending is greater, and so is one with more keys unspent.

    On day `day` from today (0) on its last key is redeemed; or it is open for `day` days and `left` keys
    are unspent then.
    """

    day: int
    left: int


@dataclass(frozen=True)
class Forecast:
    """How a pool ends at its pace (keys a day); eight of ten endings are from `early` to `late`."""

    pace: float
    ending: Ending
    early: Ending
    late: Ending


def forecast(counts: Sequence[int], *, stock: int, days_left: int) -> Forecast | None:
    """Forecast a pool's end from its redemptions on each day that counts, the newest last.

    `stock` is the number of keys that can be redeemed, `days_left` for how many days they can. None if
    there are fewer than two weeks, or no redemption in them.
    """
    import numpy as np

    days = np.asarray(counts[-DAYS:], float)
    weeks = len(days) // WEEK
    if weeks < FEWEST or not days.any():
        return None
    pace = float(days.mean())
    ahead = max(min(days_left, stock / pace) / WEEK, 1.0)
    paces = _resampled(days[-weeks * WEEK :], pace, ahead)
    slow, fast = (float(drawn) for drawn in np.quantile(paces, LIKELY))
    ending, early, late = (_ending(drawn, stock, days_left) for drawn in (pace, fast, slow))
    return Forecast(pace, ending, early, late)


def ended(counts: Sequence[int], *, stock: int) -> Ending:
    """Give how a pool with that stock ended, from its redemptions on each day since."""
    for day, count in enumerate(counts):
        stock -= count
        if stock <= 0:
            return Ending(day, 0)
    return Ending(len(counts), stock)


def back_test(counts: Sequence[int]) -> Iterator[bool]:
    """Say of each forecast that a pool's days allow whether what came was inside its span."""
    for now in range(DAYS, len(counts), DAYS):
        past, coming = counts[now - DAYS : now], counts[now:]
        for horizon in HORIZONS:
            stock = -(-sum(past) * horizon // DAYS)
            days = coming[: 2 * horizon]
            its = forecast(past, stock=stock, days_left=len(days))
            if its and len(days) >= horizon:
                yield its.early <= ended(days, stock=stock) <= its.late


def _resampled(days: "NDArray[np.float64]", pace: float, ahead: float) -> "NDArray[np.float64]":
    """Draw paces: means of resampled weeks, as far from the pace as their number and the time ahead say."""
    import numpy as np

    rng = np.random.default_rng(len(days))  # the same question has the same answer
    weeks = len(days) // WEEK
    runs = np.convolve(np.append(days, days[: WEEK - 1]), np.ones(WEEK), "valid") / WEEK
    means = runs[rng.integers(0, len(days), (DRAWS, weeks))].mean(axis=1)
    wider = np.sqrt(weeks / (weeks - 1) * (1 + weeks / ahead))
    drift = np.exp(DRIFT * np.sqrt(ahead / 4) * rng.standard_normal(DRAWS))
    drawn: NDArray[np.float64] = np.maximum(pace + (means - pace) * wider, 0) * drift
    return drawn


def _ending(pace: float, stock: int, days_left: int) -> Ending:
    if pace * days_left >= stock:
        return Ending(min(int(stock / pace) if pace else 0, days_left - 1), 0)
    return Ending(days_left, stock - int(pace * days_left))
