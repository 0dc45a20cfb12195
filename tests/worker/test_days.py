import re
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import days, errors
from worker.database import schema

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


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T12:00Z",
        "2026-01-01T12:00:00Z",
        "2026-01-01T13:00:00.000+01:00",
        "2026-01-01T13:00:00,000000000+0100",
        "2026-01-01T07:00-05",
    ],
)
def test_an_instant_is_iso_8601_with_its_offset(value):
    assert days.instant(value, zone="Asia/Tokyo", field="x") == utc(2026, 1, 1, 12)
    assert days.moment(value) == utc(2026, 1, 1, 12)


# Neither a date nor an instant, and nothing that could be guessed.
NO_TIME = [
    "",
    "soon",
    "20281231",
    "31.12.2026",
    "12/31/2026",
    "2028-W05-1",
    "2028W051",
    "2028-366",
    "2028-1-1",
    "2026-13-01",
    "2026-02-30",
    "0000-01-01",
    "10000-01-01",
    "1969-12-31",
    "9999-12-31",
    " 2026-12-31",
    "2026-12-31 ",
    "2026-12-31\n",
    "2026-01-01\x00",
    "2026 -01-01",
    "²026-01-01",
    "٢٠٢٦-٠١-٠١",
    "２０２６-01-01",
    "2026–01–01",
    "2026-12",
    "1893456000",
    "2026-01-01T12:00",
    "2026-01-01T12:00:00",
    "2026-01-01 12:00+01:00",
    "2026-01-01t12:00z",
    "2026-01-01T12+01:00",
    "20260101T120000Z",
    "2026-01-01T1200Z",
    "2026-01-01T24:00Z",
    "2026-01-01T12:00:60Z",
    "2026-01-01T12:00+24:00",
    "2026-01-01T12:00+01:00:00",
    "2026-01-01T12:00 +01:00",
    "2026-01-01T12:00Europe/Berlin",
    "0001-01-01T00:00+14:00",
]


@pytest.mark.parametrize("value", NO_TIME)
def test_anything_else_is_refused_and_the_field_is_named(value):
    with pytest.raises(
        errors.InvalidInputError, match="write 2026-12-31 or 2026-12-31T"
    ) as refused:
        days.instant(value, zone="UTC", field="expires", end=True)

    assert refused.value.field == "expires"


@pytest.mark.parametrize("value", [*NO_TIME, "2026-12-31", 1893456000, None])
def test_a_moment_has_its_offset(value):
    with pytest.raises(ValueError, match="ISO 8601 time with its offset"):
        days.moment(value)


@pytest.mark.parametrize("value", [*NO_TIME, "2026-01-01T12:00Z"])
def test_a_day_is_written_one_way(value):
    assert days.bare("2026-12-31", field="on") == date(2026, 12, 31)
    with pytest.raises(errors.InvalidInputError, match="is not a day; write 2026-12-31"):
        days.bare(value, field="on")


@pytest.mark.parametrize(
    "value",
    ["", "2026", "2026-5", "202605", "2026-13", "05-2026", "2026-05-01", " 2026-05", "٢٠٢٦-٠٥"],
)
def test_a_month_is_written_one_way(value):
    assert days.month("2026-05") == date(2026, 5, 1)
    with pytest.raises(errors.InvalidInputError, match="is not a month; write 2026-05"):
        days.month(value)


def test_an_end_is_told_in_words():
    end = days.instant("2026-12-31", zone="Europe/Berlin", field="expires", end=True)

    assert days.end_in_words(end, "Europe/Berlin") == "the end of 31 Dec 2026, Europe/Berlin"
    assert days.end_in_words(end, "UTC") == "31 Dec 2026, 23:00, UTC"


def test_an_end_before_a_skipped_midnight_is_told_as_its_day():
    # In Cairo the clocks go from 00:00 to 01:00 on 30 April 2027.
    end = days.instant("2027-04-29", zone="Africa/Cairo", field="expires", end=True)

    assert end == utc(2027, 4, 29, 22)
    assert days.end_in_words(end, "Africa/Cairo") == "the end of 29 Apr 2027, Africa/Cairo"
    assert days.as_typed(end, "Africa/Cairo", end=True) == "2027-04-29"


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


@given(
    moment=st.integers(0, 4_000_000_000).map(lambda s: utc(1971, 1, 1) + timedelta(seconds=s)),
    zone=st.sampled_from([*ZONES, "Asia/Beirut", "America/Havana", "Africa/Cairo"]),
    end=st.booleans(),
)
def test_what_is_given_to_be_typed_is_read_back(moment, zone, end):
    typed = days.as_typed(moment, zone, end=end)

    assert days.instant(typed, zone=zone, field="x", end=end) == moment


@given(
    day=st.dates(date(1971, 1, 1), date(2100, 1, 1)),
    zone=st.sampled_from([*ZONES, "Asia/Beirut", "America/Havana", "Africa/Cairo"]),
)
def test_every_end_of_a_day_is_told_as_that_day(day, zone):
    end = days.instant(day.isoformat(), zone=zone, field="x", end=True)

    assert days.end_in_words(end, zone) == f"the end of {day:%-d %b %Y}, {zone}"
    assert days.as_typed(end, zone, end=True) == day.isoformat()


def test_what_lasts_days_lasts_as_many_as_schema_sql_allows():
    limits = re.findall(r"(\w+_days) BETWEEN 1 AND (\d+)", schema.SCHEMA.read_text())

    assert {name for name, _ in limits} == {"content_availability_days", "pool_expiring_days"}
    assert {int(limit) for _, limit in limits} == {days.MAX_DAYS}


MOMENTS = st.integers(0, 5000).map(lambda minutes: utc(2026, 3, 1) + timedelta(minutes=minutes))
SPANS = st.tuples(MOMENTS, MOMENTS).map(lambda ends: days.Span(*sorted(ends)))


@given(st.lists(SPANS, min_size=1, max_size=6), MOMENTS)
def test_the_pieces_of_a_span_hold_each_of_its_moments_once(spans, moment):
    edges = days.edges(spans)

    bucket = bisect_right(edges, moment)  # PostgreSQL's width_bucket

    for span in spans:
        assert (bucket in days.pieces(span, edges)) == (span.since <= moment < span.until)
