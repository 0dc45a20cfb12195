"""Days and instants (T1): a bare date is a day in somebody's time zone."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field
from typing_extensions import TypedDict

from worker import errors

# A day and a month in public objects.
Day = Annotated[str, Field(json_schema_extra={"format": "date"})]
Month = Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}$")]

# Base classes with a field `from`, which is a keyword of Python.
Beginning = TypedDict(
    "Beginning", {"from": Annotated[datetime, Field(description="From when on it holds.")]}
)
FirstDay = TypedDict(
    "FirstDay", {"from": Annotated[date, Field(description="The first day that it is about.")]}
)

YEARS = range(1970, 9000)
YEAR = timedelta(days=365)
# Limits in days (P3): how long access may last, be extended, and be warned of ahead: ten years.
# Constraints of schema.sql enforce them, and a test compares them.
MAX_DAYS_AHEAD = 36_500  # for filters of lists
MAX_DAYS = 3650
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
MONTH = re.compile("[0-9]{4}-(?:0[1-9]|1[0-2])")
MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
)


class Span(NamedTuple):
    """A half-open stretch of time."""

    since: datetime
    until: datetime


def edges(spans: Iterable[Span]) -> list[datetime]:
    """Give where some spans begin and end, in order: they cut time into pieces, of which each span is made."""
    return sorted({edge for span in spans for edge in span})


def pieces(span: Span, edges: Sequence[datetime]) -> range:
    """Give the pieces that a span is made of, numbered as PostgreSQL's `width_bucket` does: from 1."""
    return range(bisect_left(edges, span.since) + 1, bisect_left(edges, span.until) + 1)


def instant(value: str, *, zone: str, field: str, end: bool = False) -> datetime:
    """Read a date (`2026-12-31`) or a time with its offset as an instant in UTC.

    A date is a day in `zone`: as a start its first instant, as an end the next day's first
    instant, so that the end includes the day.

    Raises:
        InvalidInputError: it is neither, or its year is before 1970 or after 8999.
    """
    if (read := _moment(value)) is not None:
        return read
    if (date_ := _day(value)) is not None:
        return day_start(date_, zone, after=1 if end else 0)
    raise errors.InvalidInputError(
        f"“{value}” is not a date; write 2026-12-31 or 2026-12-31T18:00+01:00.", field=field
    )


def moment(value: object) -> datetime:
    """Read an ISO 8601 time with its offset as an instant in UTC.

    Raises:
        ValueError: it is none, or its year is before 1970 or after 8999.
    """
    if isinstance(value, str) and (read := _moment(value)) is not None:
        return read
    raise ValueError("Give an ISO 8601 time with its offset, such as 2026-03-01T09:30:00Z.")


def bare(value: str | date | None, *, field: str) -> date | None:
    """Read a date as `day` does; None stays None."""
    return day(value, field=field) if isinstance(value, str) else value


def day(value: str, *, field: str) -> date:
    """Read a date, `2026-12-31`.

    Raises:
        InvalidInputError: it is none, or its year is out of range.
    """
    if (read := _day(value)) is not None:
        return read
    raise errors.InvalidInputError(f"“{value}” is not a day; write 2026-12-31.", field=field)


def month(value: str, *, field: str = "month") -> date:
    """Read a month, `2026-05`, as its first day.

    Raises:
        InvalidInputError: it is none, or its year is out of range.
    """
    if MONTH.fullmatch(value) and (first := _day(f"{value}-01")) is not None:
        return first
    raise errors.InvalidInputError(f"“{value}” is not a month; write 2026-05.", field=field)


def following_month(month: date) -> date:
    """Give the first day of the month after a day's."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def period(
    from_: str | date | None, to: str | date | None, *, now: datetime, zone: str
) -> tuple[date, date]:
    """Give the first and the last day of a period; by default the year that ends today.

    Raises:
        InvalidInputError: a day is malformed, or the last is before the first.
    """
    last = bare(to, field="to") or now.astimezone(ZoneInfo(zone)).date()
    first = bare(from_, field="from") or last - YEAR + timedelta(days=1)
    in_order(first, last)
    return first, last


def ahead(value: str, *, field: str) -> timedelta:
    """Read a number of days ahead, `14` or `14d`.

    Raises:
        InvalidInputError: it is not a number of days from 0 to 36,500.
    """
    number = value.removesuffix("d")
    if not (number.isascii() and number.isdecimal()) or int(number) > MAX_DAYS_AHEAD:
        raise errors.InvalidInputError(
            f"“{value}” is not a number of days from 0 to {MAX_DAYS_AHEAD}.", field=field
        )
    return timedelta(days=int(number))


def span(from_: str, to: str) -> tuple[date, date]:
    """Read the first and the last day of a period.

    Raises:
        InvalidInputError: one is no day, or the last comes before the first.
    """
    first, last = day(from_, field="from"), day(to, field="to")
    in_order(first, last)
    return first, last


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
    """Give the first instant of a day (or of the day `days` later) in a time zone.

    If a clock change skips midnight, it is the next instant; of two midnights it is the first (`fold` 0
    does both).
    """
    if day.year not in YEARS:
        raise ValueError(f"the year {day.year} is out of range")
    local = datetime.combine(day + timedelta(days=after), time(), ZoneInfo(zone))
    return local.astimezone(UTC)


def end_in_words(end: datetime, zone: str) -> str:
    """Write an end in words: `the end of 31 Dec 2026, Europe/Berlin`."""
    if last_day := ended_by(end, zone):
        return f"the end of {last_day:%-d %b %Y}, {zone}"
    return f"{end.astimezone(ZoneInfo(zone)):%-d %b %Y, %H:%M}, {zone}"


def ended_by(end: datetime, zone: str) -> date | None:
    """Give the day that an end includes to its last instant; None where it ends within a day."""
    last_day = _last_day(end, zone)
    return last_day if day_start(last_day, zone, after=1) == end else None


def as_typed(moment: datetime, zone: str, *, end: bool = False) -> str:
    """Write an instant so that `instant` reads it back: as a date if possible, else as a local time."""
    local = moment.astimezone(ZoneInfo(zone))
    day = _last_day(moment, zone) if end else local.date()
    if day_start(day, zone, after=1 if end else 0) == moment:
        return day.isoformat()
    return local.isoformat()


def _last_day(end: datetime, zone: str) -> date:
    """Give the last day that an end includes.

    It subtracts in UTC, because local time has no instant just before a skipped midnight.
    """
    return (end.astimezone(UTC) - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date()


def _moment(value: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(value).astimezone(UTC) if MOMENT.fullmatch(value) else None
    except (ValueError, OverflowError):
        return None
    return read if read and read.year in YEARS else None


def _day(value: str) -> date | None:
    try:
        read = date.fromisoformat(value) if DAY.fullmatch(value) else None
    except ValueError:
        return None
    return read if read and read.year in YEARS else None
