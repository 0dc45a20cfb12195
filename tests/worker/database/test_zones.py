"""One time zone database (T3): Python's answers are SQL's, for every zone and ten years ahead."""

import importlib.resources
import os
import subprocess
import sys
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from tests.world import OPERATOR
from worker import days, errors
from worker.database import connections, schema, zones
from worker.tenancy import organizations

REFUSED = {"CET", "EET", "EST", "Factory", "HST", "MET", "MST", "WET"}
ACCEPTED = sorted(zoneinfo.available_timezones() - REFUSED)
NOONS = [datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in range(3653)]

# A file that says of Berlin what is so in Tokyo, where the host has its time zones.
ELSEWHERE = """
import zoneinfo
before = zoneinfo.ZoneInfo("Europe/Berlin")
from datetime import date, datetime, UTC
from worker import days
noon = datetime(2027, 1, 1, 12, tzinfo=UTC)
print(noon.astimezone(before).hour, days.day_start(date(2027, 1, 1), "Europe/Berlin").hour)
"""


def test_every_zone_has_the_same_rules_in_python_and_in_sql(session):
    assert len(ACCEPTED) > 580

    assert zones.differing(session.connection(), ACCEPTED) == []


def test_every_name_is_a_time_zone_but_the_abbreviations_and_factory(session, monkeypatch):
    monkeypatch.setattr(zones, "YEARS_COMPARED", 0)  # the test above compares them all

    names = ACCEPTED + sorted(REFUSED)
    known = session.execute(
        text("SELECT name, is_time_zone(name) FROM unnest(CAST(:names AS text[])) AS name"),
        {"names": names},
    ).all()

    assert {name for name, is_known in known if not is_known} == REFUSED
    assert [zones.check(session.connection(), name) for name in ACCEPTED] == ACCEPTED


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("CET", "“CET” is an abbreviation, which SQL takes for a fixed offset; name the place, such"
         " as Europe/Brussels."),
        ("EST", "such as America/Panama"),
        ("Factory", "“Factory” is not a time zone; give an IANA name such as Europe/Berlin."),
        ("Berlin", "is not a time zone"),
        ("europe/berlin", "is not a time zone"),
        ("UTC+3", "is not a time zone"),
        ("../../etc/passwd", "is not a time zone"),
        ("", "is not a time zone"),
    ],
)  # fmt: skip
def test_what_is_no_zone_is_refused_in_a_sentence(session, name, told):
    with pytest.raises(errors.InvalidInputError, match=told.replace("(", r"\(")) as refused:
        zones.check(session.connection(), name)

    assert refused.value.field == "time_zone"


def test_pool_ends_and_billing_months_agree_for_every_zone(session):
    asked = [(zone, day) for zone in ACCEPTED for day in turning_days(zone)]
    assert len(asked) > 50_000

    rows = session.execute(
        text("""
            SELECT zone, day, start, last_day(start, zone) AS last,
                   date_trunc('month', start AT TIME ZONE zone)::date AS month,
                   date_trunc('month', (start - interval '1 microsecond') AT TIME ZONE zone)::date
                       AS month_before
              FROM (SELECT zone, day, day_start(day, zone) AS start
                      FROM unnest(CAST(:zones AS text[]), CAST(:days AS date[])) AS asked (zone, day)
                   ) AS begun"""),
        {"zones": [zone for zone, _ in asked], "days": [day for _, day in asked]},
    )
    wrong = []
    for row in rows:
        start = days.day_start(row.day, row.zone)
        before = (start - timedelta(microseconds=1)).astimezone(ZoneInfo(row.zone)).date()
        ours = (start, before, row.day.replace(day=1), before.replace(day=1))
        if ours != (row.start, row.last, row.month, row.month_before):
            wrong.append((row.zone, row.day))

    assert wrong == []


def turning_days(zone: str) -> list[date]:
    """Give the days around each change of a zone's clocks, and each month's first, for ten years."""
    clock = ZoneInfo(zone)
    offsets = [noon.astimezone(clock).utcoffset() for noon in NOONS]
    changed = {
        NOONS[i].date() + timedelta(days=near)
        for i in range(1, len(NOONS))
        if offsets[i] != offsets[i - 1]
        for near in range(-2, 3)
    }
    return sorted(changed | {noon.date() for noon in NOONS if noon.day == 1})


def test_the_hosts_files_are_never_read(tmp_path):
    (tmp_path / "Europe").mkdir()
    tokyo = importlib.resources.files("tzdata.zoneinfo.Asia").joinpath("Tokyo").read_bytes()
    (tmp_path / "Europe" / "Berlin").write_bytes(tokyo)

    told = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env=os.environ | {"PYTHONTZPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert told == ["21", "23"]  # as the host has it; and as it is


def mistake(monkeypatch, name: str, for_: str) -> None:
    """Have Python know one zone's rules under another's name, as if PostgreSQL were of another year."""
    monkeypatch.setattr(zones, "ZoneInfo", lambda key: ZoneInfo(for_ if key == name else key))


def test_a_zone_that_another_postgresql_has_otherwise_is_refused(session, monkeypatch):
    mistake(monkeypatch, "America/Vancouver", "America/Los_Angeles")

    with pytest.raises(errors.InvalidInputError, match="other rules for America/Vancouver"):
        zones.check(session.connection(), "America/Vancouver")
    assert zones.check(session.connection(), "America/Los_Angeles") == "America/Los_Angeles"


def test_a_check_names_the_zones_that_another_postgresql_has_otherwise(fresh_database, monkeypatch):
    with connections.session() as session:
        organizations.add(session, actor=OPERATOR, name="Fine", time_zone="Asia/Tokyo")
        organizations.add(session, actor=OPERATOR, name="Coast", time_zone="America/Vancouver")
    mistake(monkeypatch, "America/Vancouver", "America/Los_Angeles")

    told = [line for line in schema.check(connections.engine()) if "time zone" in line]

    assert len(told) == 1
    assert told[0].startswith("The time zone America/Vancouver (in use 1 times) has other rules")
