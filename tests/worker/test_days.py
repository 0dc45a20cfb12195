from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import days, errors

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]


def utc(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)


def test_a_start_is_the_days_first_instant():
    assert days.instant("2026-07-01", zone="Europe/Berlin", field="starts") == utc(2026, 6, 30, 22)


def test_an_end_includes_its_day():
    end = days.instant("2026-12-31", zone="America/New_York", field="expires", end=True)

    assert end == utc(2027, 1, 1, 5)


def test_a_midnight_that_a_clock_change_skips_is_the_next_instant():
    # In Beirut the clocks went from 00:00 to 01:00 on 27 March 2022.
    start = days.instant("2022-03-27", zone="Asia/Beirut", field="starts")

    assert start == utc(2022, 3, 26, 22)
    assert start.astimezone(ZoneInfo("Asia/Beirut")).hour == 1


def test_of_a_midnight_that_comes_twice_the_first_begins_the_day():
    # In Havana the clocks went from 01:00 back to 00:00 on 6 November 2022.
    assert days.instant("2022-11-06", zone="America/Havana", field="starts") == utc(2022, 11, 6, 4)


def test_a_time_with_an_offset_is_that_instant():
    assert days.instant("2026-01-01T12:00+05:45", zone="UTC", field="x") == utc(2026, 1, 1, 6, 15)


def test_a_time_without_an_offset_is_the_zones():
    assert days.instant("2026-01-01T12:00", zone="Asia/Kathmandu", field="x") == utc(
        2026, 1, 1, 6, 15
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "31.12.2026",
        "2026-13-01",
        "2026-02-30",
        "0000-01-01",
        "10000-01-01",
        "1969-12-31",
        "9999-12-31",
        "2026-01-01\x00",
        "²026-01-01",
        "0001-01-01T00:00+14:00",
    ],
)
def test_anything_else_is_refused_and_the_field_is_named(value):
    with pytest.raises(errors.InvalidInputError) as refused:
        days.instant(value, zone="UTC", field="expires", end=True)

    assert refused.value.field == "expires"


def test_an_end_is_told_in_words():
    end = days.instant("2026-12-31", zone="Europe/Berlin", field="expires", end=True)

    assert days.end_in_words(end, "Europe/Berlin") == "the end of 31 Dec 2026, Europe/Berlin"
    assert days.end_in_words(end, "UTC") == "31 Dec 2026, 23:00, UTC"


@given(
    day=st.dates(date(1971, 1, 1), date(2100, 1, 1)),
    zone=st.sampled_from([*ZONES, "Asia/Beirut", "America/Havana", "Africa/Cairo"]),
)
def test_days_follow_each_other_without_gap_and_last_23_to_25_hours(day, zone):
    start = days.instant(day.isoformat(), zone=zone, field="x")
    end = days.instant(day.isoformat(), zone=zone, field="x", end=True)
    following = days.instant((day + timedelta(days=1)).isoformat(), zone=zone, field="x")

    assert end == following
    assert timedelta(hours=22) < end - start < timedelta(hours=26)
    assert start.astimezone(ZoneInfo(zone)).date() == day
