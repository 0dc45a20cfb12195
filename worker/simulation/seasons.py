"""When things happen: busy weekdays, quiet nights, summers and slow growth over the years."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Instants = NDArray[np.int64]  # microseconds since 1970, in UTC; NEVER where nothing happened
NEVER = -1
SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR

WEEKDAYS = (1.0, 1.05, 1.0, 0.95, 0.75, 0.25, 0.2)
MONTHS = (1.1, 1.1, 1.05, 1.0, 0.95, 0.85, 0.6, 0.55, 1.35, 1.3, 1.15, 0.6)
HOURS = (1, 1, 1, 1, 1, 2, 5, 14, 34, 52, 56, 50, 34, 44, 54, 52, 44, 34, 26, 24, 22, 14, 6, 2)
GROWTH = (0.7, 1.3)  # from the first day to the last


class Seasons:
    """The simulated days, and how busy each is."""

    def __init__(self, first: datetime, days: int, zones: Sequence[str]) -> None:
        dates = [first + timedelta(days=n) for n in range(days)]
        weights = [WEEKDAYS[date.weekday()] * MONTHS[date.month - 1] for date in dates]
        busy = np.array(weights) * np.linspace(*GROWTH, days)
        self.begin = int(first.timestamp()) * SECOND
        self.end = self.begin + days * DAY
        self._midnights = self.begin + DAY * np.arange(days + 1)
        self._busy_before = np.concatenate([[0.0], np.cumsum(busy)])
        self._offsets = np.array([[_offset(zone, date) for date in dates] for zone in zones])

    def busyness(self, begins: Instants, ends: Instants) -> NDArray[np.float64]:
        """Say how much happens in each span, in an arbitrary unit."""
        return np.maximum(self._before(ends) - self._before(begins), 0.0)

    def draw(
        self, rng: np.random.Generator, begins: Instants, ends: Instants, zones: NDArray[np.int64]
    ) -> Instants:
        """Draw an instant within each span [begin, end), by the hours of each one's zone."""
        spread = rng.uniform(self._before(begins), self._before(ends))
        anywhen = np.interp(spread, self._busy_before, self._midnights).astype(np.int64)
        day = np.clip((anywhen - self.begin) // DAY, 0, len(self._midnights) - 2)
        hour = rng.choice(24, size=len(day), p=np.array(HOURS) / sum(HOURS))
        local = self._midnights[day] + hour * HOUR + rng.integers(0, HOUR, len(day))
        instant = local - self._offsets[zones, day]
        inside = (begins <= instant) & (instant < ends)
        return np.where(inside, instant, np.clip(anywhen, begins, ends - 1))

    def _before(self, instants: Instants) -> NDArray[np.float64]:
        return np.asarray(np.interp(instants, self._midnights, self._busy_before), np.float64)


def _offset(zone: str, noon: datetime) -> int:
    offset = (noon + timedelta(hours=12)).astimezone(ZoneInfo(zone)).utcoffset()
    return int((offset or timedelta()).total_seconds()) * SECOND


def microseconds(moment: datetime) -> int:
    """Give an instant as Instants count it."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def moment(instant: int) -> datetime:
    """Give one of Instants as a datetime in UTC."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(instant))
