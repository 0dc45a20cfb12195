"""Days and instants (T1): a bare date is a day in somebody's time zone."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field
from typing_extensions import TypedDict

from worker import errors

# A day and a month as they are given out.
Day = Annotated[str, Field(json_schema_extra={"format": "date"})]
Month = Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}$")]

# Objects that hold from an instant on, and those about a period; `from` is a word of Python's own.
Beginning = TypedDict(
    "Beginning", {"from": Annotated[datetime, Field(description="From when on it holds.")]}
)
FirstDay = TypedDict(
    "FirstDay", {"from": Annotated[date, Field(description="The first day that it is about.")]}
)

YEARS = range(1970, 9000)
YEAR = timedelta(days=365)
# How many days access may last, an end may be put off, and an end may be warned of ahead (P3): ten
# years. Constraints of schema.sql keep it, and a test compares them.
FURTHEST = 36_500  # days ahead that a list can be asked for
LONGEST = 3650
DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
MONTH = re.compile("[0-9]{4}-(?:0[1-9]|1[0-2])")
MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
)


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
    """Read a date as `day` does, where there is one."""
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


def period(
    from_: str | date | None, to: str | date | None, *, now: datetime, zone: str
) -> tuple[date, date]:
    """Give the first and the last day that are asked about: by default the year that ends today.

    Raises:
        InvalidInputError: a day is none, or the last comes before the first.
    """
    last = bare(to, field="to") or now.astimezone(ZoneInfo(zone)).date()
    first = bare(from_, field="from") or last - YEAR + timedelta(days=1)
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
    last_day = _last_day(end, zone)
    if day_start(last_day, zone, after=1) == end:
        return f"the end of {last_day:%-d %b %Y}, {zone}"
    return f"{end.astimezone(ZoneInfo(zone)):%-d %b %Y, %H:%M}, {zone}"


def as_typed(moment: datetime, zone: str, *, end: bool = False) -> str:
    """Give an instant as `instant` reads it back: a date where it is one, a local time else."""
    local = moment.astimezone(ZoneInfo(zone))
    day = _last_day(moment, zone) if end else local.date()
    if day_start(day, zone, after=1 if end else 0) == moment:
        return day.isoformat()
    return local.isoformat()


def _last_day(end: datetime, zone: str) -> date:
    """Give the day that an end includes, or falls in.

    It is counted back in UTC: local time knows no instant before a midnight that is skipped.
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
