"""The periods that figures are of, in the visitor's days: each beside the same part of the one before."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from worker.days import Span, day_start, following_month

QUARTER = timedelta(minutes=15)  # tallies count by quarters of an hour
DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True)
class Period:
    """A period that is not over, and as much of the one before."""

    name: str
    former: str
    now: Span
    before: Span


def running(now: datetime, zone: str) -> list[Period]:
    """Give today, this week (from Monday), and this month."""
    today = now.astimezone(ZoneInfo(zone)).date()
    monday, first = today - today.weekday() * DAY, today.replace(day=1)
    begun = (
        ("Today", "yesterday", today - DAY, today, today + DAY),
        ("This week", "last week", monday - WEEK, monday, monday + WEEK),
        ("This month", "last month", (first - DAY).replace(day=1), first, following_month(first)),
    )
    return [
        _period(name, former, [day_start(day, zone) for day in days], now)
        for name, former, *days in begun
    ]


def lately(now: datetime, zone: str, count: int) -> list[tuple[date, Span]]:
    """Give so many days, the last of them today, each with its span."""
    today = now.astimezone(ZoneInfo(zone)).date()
    days = [today - back * DAY for back in reversed(range(count))]
    return [(day, Span(day_start(day, zone), day_start(day, zone, after=1))) for day in days]


def _period(name: str, former: str, bounds: list[datetime], now: datetime) -> Period:
    before, begin, end = bounds
    passed = (now - begin) // QUARTER * QUARTER
    return Period(name, former, Span(begin, end), Span(before, min(before + passed, begin)))
