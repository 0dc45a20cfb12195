"""Days and instants (T1): a bare date is a day in somebody's time zone."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from worker import errors

YEARS = range(1970, 9000)


def instant(value: str, *, zone: str, field: str, end: bool = False) -> datetime:
    """Read a date or an ISO 8601 time as an instant in UTC.

    A bare date is a day in `zone`: as a start its first instant, as an end the next day's first
    instant, so that the end includes the day. A time without an offset is the zone's.

    Raises:
        InvalidInputError: it is neither, or its year is before 1970 or after 8999.
    """
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.strip()):
            return day_start(date.fromisoformat(value.strip()), zone, after=1 if end else 0)
        moment = datetime.fromisoformat(value.strip())
        if moment.year not in YEARS:
            raise ValueError
    except (ValueError, OverflowError):
        raise errors.InvalidInputError(
            f"“{value}” is not a date; write 2026-12-31 or 2026-12-31T18:00+01:00.", field=field
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.astimezone(UTC)


def bare(value: str | date | None, *, field: str) -> date | None:
    """Read a bare date.

    Raises:
        InvalidInputError: it is none, or its year is out of range.
    """
    if value is None or isinstance(value, date):
        return value
    try:
        read = date.fromisoformat(value.strip())
        if read.year in YEARS:
            return read
    except ValueError:
        pass
    raise errors.InvalidInputError(f"“{value}” is not a day; write 2026-12-31.", field=field)


def in_order(first: date | None, last: date | None) -> None:
    """Refuse a period that ends before it begins.

    Raises:
        InvalidInputError: it does.
    """
    if first and last and last < first:
        raise errors.InvalidInputError(
            f"The period ends on {last} before it begins on {first}; swap --from and --to.",
            field="to",
        )


def day_start(day: date, zone: str, *, after: int = 0) -> datetime:
    """Give the first instant of a day (or of the day so many days after it) in a time zone.

    A midnight that a clock change skips is the next instant; of two, the first (`fold` 0 gives
    both).
    """
    if day.year not in YEARS:
        raise ValueError(f"the year {day.year} is out of range")
    local = datetime.combine(day + timedelta(days=after), time(), ZoneInfo(zone))
    return local.astimezone(UTC)


def end_in_words(end: datetime, zone: str) -> str:
    """Say an end as people do: `the end of 31 Dec 2026, Europe/Berlin`."""
    local = end.astimezone(ZoneInfo(zone))
    last_day = (local - timedelta(microseconds=1)).date()
    if day_start(last_day, zone, after=1) == end:
        return f"the end of {last_day:%-d %b %Y}, {zone}"
    return f"{local:%-d %b %Y, %H:%M}, {zone}"


def as_typed(moment: datetime, zone: str, *, end: bool = False) -> str:
    """Give an instant as `instant` reads it back: a bare date where it is one, a local time else."""
    local = moment.astimezone(ZoneInfo(zone))
    day = (local - timedelta(microseconds=1)).date() if end else local.date()
    if day_start(day, zone, after=1 if end else 0) == moment:
        return day.isoformat()
    return local.replace(tzinfo=None).isoformat()
