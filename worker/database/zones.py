"""Time zones: names that Python knows, and whether this PostgreSQL has the same rules for them (T3).

Python and SQL both turn days into instants, so they must agree. The package tzdata is pinned to the
release that the embedded PostgreSQL was built with; another PostgreSQL may have another release.
"""

import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final, cast
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from worker import errors

# Names that PostgreSQL reads as fixed offsets, though in Python they are zones of a place; and that
# place (since tzdata 2024b).
PLACES: Final = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "EST": "America/Panama",
    "HST": "Pacific/Honolulu",
    "MET": "Europe/Brussels",
    "MST": "America/Phoenix",
    "WET": "Europe/Lisbon",
}
NOWHERE: Final = "Factory"
YEARS_COMPARED: Final = 10
DAY: Final = 86400  # seconds

NOW = text("SELECT clock_now()")
IN_USE = text("""
    SELECT time_zone, count(*)
      FROM (SELECT time_zone FROM organization UNION ALL SELECT time_zone FROM seller) AS used
     GROUP BY 1 ORDER BY 1
""")

# Seconds east of UTC at each instant; null if the name is unknown.
OFFSETS = text("""
    SELECT CASE WHEN is_time_zone(:zone) THEN (
        SELECT array_agg(extract(epoch FROM (at AT TIME ZONE :zone) - (at AT TIME ZONE 'UTC'))::int
                         ORDER BY nth)
          FROM (SELECT to_timestamp(second) AS at, nth
                  FROM unnest(CAST(:seconds AS bigint[])) WITH ORDINALITY AS asked (second, nth)
               ) AS asked) END
""")


def check(connection: Connection, name: str, *, field: str = "time_zone") -> str:
    """Give a time zone's name back if Python and this PostgreSQL know it and have the same rules.

    Raises:
        InvalidInputError: it is no IANA name, is a fixed offset in SQL, or its rules differ.
    """
    if (place := PLACES.get(name)) is not None:
        raise errors.InvalidInputError(
            f"“{name}” is an abbreviation, which SQL takes for a fixed offset; name the place, "
            f"such as {place}.",
            field=field,
        )
    if name == NOWHERE or name not in zoneinfo.available_timezones():
        raise errors.InvalidInputError(
            f"“{name}” is not a time zone; give an IANA name such as Europe/Berlin.", field=field
        )
    if name != "UTC" and differing(connection, [name]):
        raise errors.InvalidInputError(
            f"This PostgreSQL has other rules for {name} than keypool (tzdata {version('tzdata')}): "
            "days would begin at two times. Update its time zones, or give another.",
            field=field,
        )
    return name


def differing(connection: Connection, names: Sequence[str]) -> list[str]:
    """Give those of some time zones whose rules differ between Python and this PostgreSQL.

    They are compared on every day of this year and the next ten, and to the second on both sides
    of each clock change.
    """
    year = connection.execute(NOW).scalar_one().year
    first = datetime(year, 1, 1, tzinfo=UTC)
    last = datetime(year + YEARS_COMPARED + 1, 1, 1, tzinfo=UTC)
    return [name for name in names if not _agrees(connection, name, first, last)]


def differences(connection: Connection) -> list[str]:
    """Give one sentence for each time zone in use for which this PostgreSQL has other rules."""
    used = dict(tuple(row) for row in connection.execute(IN_USE))
    return [
        f"The time zone {name} (in use {used[name]:,} times) has other rules in this PostgreSQL than "
        f"in keypool (tzdata {version('tzdata')}). Update its time zones."
        for name in differing(connection, list(used))
    ]


def _agrees(connection: Connection, name: str, first: datetime, last: datetime) -> bool:
    ours = list(_offsets(ZoneInfo(name), int(first.timestamp()), int(last.timestamp())))
    asked = {"zone": name, "seconds": [second for second, _ in ours]}
    theirs: list[int] | None = connection.execute(OFFSETS, asked).scalar_one()
    return theirs == [offset for _, offset in ours]


def _offsets(zone: ZoneInfo, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Give the offset on each day, and on both sides of each change between; by seconds since 1970."""
    known = _offset(zone, first)
    for second in range(first, last, DAY):
        yield second, known
        if (offset := _offset(zone, second + DAY)) != known:
            change = _change(zone, second, second + DAY)
            yield change - 1, known
            yield change, _offset(zone, change)
        known = offset


def _change(zone: ZoneInfo, before: int, after: int) -> int:
    """Find the second at which a zone's clocks change, between two days."""
    known = _offset(zone, before)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(zone, middle) == known:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: ZoneInfo, second: int) -> int:
    return int(cast(timedelta, datetime.fromtimestamp(second, zone).utcoffset()).total_seconds())
