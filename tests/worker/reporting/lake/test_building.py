"""The lake's files: whole months, as the tables have them, without anything personal."""

import json
import re
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import text

from tests.conftest import Addresses
from tests.worker.reporting.lake.conftest import run
from worker import tasks
from worker.database import connections as databases
from worker.days import following_month
from worker.reporting.lake import building, checking, facts, places
from worker.settings import settings

# What a file may have in a column of text: codes that keypool itself gives.
CODES = re.compile("[a-z_.]+|[A-Z]{3}")
# Anything of a person or typed by one, as the tables have it.
PERSONAL = """
    SELECT email FROM learner UNION SELECT name FROM learner UNION SELECT learner_email FROM redemption
    UNION SELECT recipient FROM distribution UNION SELECT recipient_name FROM distribution
    UNION SELECT reference FROM distribution UNION SELECT code FROM key UNION SELECT canonical FROM key
    UNION SELECT unnest(labels) FROM key UNION SELECT reason FROM charge
    UNION SELECT cancel_reason FROM assignment UNION SELECT name FROM organization
    UNION SELECT name FROM pool UNION SELECT title FROM course
    UNION SELECT webhook_id FROM event UNION SELECT launch FROM launch"""


def files(lake: Path) -> list[Path]:
    return sorted(lake.glob("*/organization=*/month=*/facts.parquet"))


def noted() -> list[tuple]:
    return run("SELECT DISTINCT organization_id, month FROM lake_change")


def one_old(table: str, at: str, *, where: str = "true") -> int:
    """The id of a row of the month before the last one."""
    number = "event_id" if table == "redemption" else "id"
    return run(f"""SELECT {number} FROM {table} WHERE {where} AND {at} < clock_now() - interval '65 days'
                    ORDER BY {at} DESC LIMIT 1""")[0][0]


def test_the_lake_has_what_the_tables_have(lake):
    checked = checking.check()

    assert checked["differences"] == []
    assert {path.parts[-4] for path in files(lake)} == {fact.name for fact in facts.ALL}
    (redemptions,) = run("""
        SELECT count(*) FROM redemption JOIN organization ON organization.id = organization_id
         WHERE (received_at AT TIME ZONE time_zone)::date < (SELECT written FROM lake)""")
    assert (
        sum(parquet.read_metadata(f).num_rows for f in lake.glob("redemption/**/*.parquet"))
        == redemptions[0]
    )


def test_a_month_that_is_not_over_is_not_written(lake):
    (written,) = run("SELECT written FROM lake")[0]

    (closed,) = run("SELECT date_trunc('month', clock_now() - interval '36 hours')::date")[0]
    assert written == closed
    assert max(path.parent.name for path in files(lake)) < f"month={written:%Y-%m}"


def test_no_file_has_anything_personal(lake):
    personal = {value for (value,) in run(PERSONAL) if value} - {""}

    for path in files(lake):
        table = parquet.read_table(path, partitioning=None)
        for column in table.itercolumns():
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                values = set(column.to_pylist()) - {None}
                assert not values & personal, path
                assert all(CODES.fullmatch(value) for value in values), path
            else:
                assert pa.types.is_primitive(column.type) or pa.types.is_decimal(column.type), path
        fact = next(fact for fact in facts.ALL if fact.name == path.parts[-4])
        assert set(table.column_names) <= {*fact.columns, "label_set"}


def test_nothing_is_written_again_where_nothing_changed(lake):
    before = {path: path.stat().st_mtime_ns for path in files(lake)}

    built = building.build()

    assert built["months"] == 0
    assert {path: path.stat().st_mtime_ns for path in files(lake)} == before


CHANGES = {
    "a launch that ends late": (
        "launch", "launched_at", "UPDATE launch SET completed = NOT completed WHERE id = :id",
        "completed IS NOT NULL",
    ),
    "an assignment that is cancelled": (
        "assignment", "redeemed_at",
        """UPDATE assignment SET status = 'cancelled', cancelled_at = clock_now(), expired_at = NULL
            WHERE id = :id""",
        "status <> 'cancelled'",
    ),
    "a key that is retired": (
        "key", "(SELECT distributed_at FROM distribution WHERE distribution.id = distribution_id)",
        "UPDATE key SET state = 'retired' WHERE id = :id", "state = 'issued'",
    ),
    "an event that is settled late": (
        "event", "received_at",
        "UPDATE event SET status = 'failed', outcome = NULL, settled_at = NULL, error = 'x' WHERE id = :id",
        "status = 'settled'",
    ),
    "a late attempt": (
        "redemption", "received_at",
        """WITH old AS (SELECT * FROM redemption WHERE event_id = :id),
           event AS (INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id,
                         body_hash, type, received_at, status, outcome, settled_at)
                     SELECT event.source_id, event.organization_id, event.learner_organization_id,
                            'late', '', event.type, event.received_at, 'settled', 'unknown_key', clock_now()
                       FROM event JOIN old ON event.id = old.event_id RETURNING id)
           INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email,
                                   outcome, received_at)
           SELECT event.id, organization_id, learner_organization_id, learner_email, 'unknown_key', received_at
             FROM old, event""",
        "true",
    ),
}  # fmt: skip


def test_months_are_written_anew_where_something_came_late_or_changed(lake):
    for table, at, statement, where in CHANGES.values():
        run(statement, id=one_old(table, at, where=where))
    months = noted()

    differences = checking.check()["differences"]
    built = building.build()

    assert {one["fact"] for one in differences} >= {
        "launch",
        "assignment",
        "handed_out",
        "event",
        "redemption",
    }
    assert all(difference["noted"] for difference in differences)
    assert built["months"] == len({month for _, month in months})
    assert noted() == []
    assert checking.check()["differences"] == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noted_of_its_months_alone(lake, change):
    table, at, statement, where = CHANGES[change]

    run(statement.replace("late", "later"), id=one_old(table, at, where=where))

    assert 1 <= len(noted()) <= (2 if "key" in change or "assignment" in change else 1)
    building.build()


def test_other_labels_are_another_number(lake):
    key = run("""SELECT key_id FROM redemption WHERE key_id IS NOT NULL
                    AND received_at < clock_now() - interval '65 days' LIMIT 1""")[0][0]

    run("UPDATE key SET labels = '{another}' WHERE id = :key", key=key)
    building.build()

    numbers = {
        number
        for path in lake.glob("redemption/**/*.parquet")
        for row in parquet.read_table(path, partitioning=None).to_pylist()
        if row["key_id"] == key
        for number in [row["label_set"]]
    }
    named = run("SELECT labels FROM lake_labels WHERE id = ANY (:ids)", ids=[*numbers])
    assert named == [(["another"],)]


def test_a_new_time_zone_has_all_months_written_anew(lake):
    months = run(
        "SELECT organization_id, count(*) FROM lake_month GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
    )
    organization, count = months[0]

    run("UPDATE organization SET time_zone = 'Pacific/Auckland' WHERE id = :id", id=organization)

    assert len(noted()) >= count
    building.build()
    assert checking.check()["differences"] == []


def test_an_expiry_changes_nothing_in_the_lake(lake):
    number = one_old("assignment", "redeemed_at", where="status = 'expired'")

    run(
        "UPDATE assignment SET status = 'expired', expired_at = clock_now() WHERE id = :id",
        id=number,
    )

    assert noted() == []


def test_what_changes_during_a_build_is_written_by_the_next(lake, monkeypatch):
    number, publish = one_old("launch", "launched_at", where="completed"), places.Place.publish
    late = "UPDATE launch SET completed = :completed WHERE id = :id"
    run(late, id=number, completed=False)

    def meanwhile(*arguments, **named):
        run(late, id=number, completed=True)
        publish(*arguments, **named)

    monkeypatch.setattr(places.Place, "publish", meanwhile)
    building.build()

    assert len(noted()) == 1
    monkeypatch.undo()
    building.build()
    assert noted() == []


@pytest.mark.parametrize("moves", [0, 2])
def test_a_build_that_dies_leaves_no_half_month_to_read(lake, monkeypatch, moves):
    run("UPDATE launch SET completed = NOT completed WHERE id = :id",
        id=one_old("launch", "launched_at", where="completed IS NOT NULL"))  # fmt: skip
    ((organization, month),) = noted()
    left, move = [moves], places.Place._move

    def dies(*arguments):
        if not left[0]:
            raise OSError("killed")
        left[0] -= 1
        move(*arguments)

    monkeypatch.setattr(places.Place, "_move", dies)
    with pytest.raises(OSError, match="killed"):
        building.build()

    assert places.ours().manifest(organization, month) is None
    assert noted() == [(organization, month)]
    monkeypatch.undo()
    building.build()
    assert places.ours().manifest(organization, month)
    assert not list((lake / places.ASIDE).glob("*"))


def test_a_file_that_is_not_as_written_is_named(lake):
    path = next(path for path in files(lake) if "charge" in str(path))
    whole, table = path.read_bytes(), parquet.read_table(path, partitioning=None)
    parquet.write_table(table.slice(1), path)

    checked = checking.check()

    path.write_bytes(whole)
    assert not checked["ok"]
    named = {
        (one["fact"], f"month={one['month']:%Y-%m}", one["noted"]) for one in checked["differences"]
    }
    assert named == {("charge", path.parent.name, False)}
    assert {"rows", "amount"} <= {one["figure"] for one in checked["differences"]}


def test_a_lake_may_be_at_any_address_of_fsspec(history, monkeypatch):
    monkeypatch.setenv("KEYPOOL_LAKE", "memory://bucket/lake")
    settings.cache_clear()
    run("DELETE FROM lake_month")
    run("DELETE FROM lake")

    built = building.build()

    assert built["facts"]
    assert checking.check()["ok"]
    elsewhere = places.ours()
    assert (
        len(elsewhere.files.glob("/bucket/lake/*/organization=*/month=*/facts.parquet"))
        == built["files"]
    )
    run("DELETE FROM lake_month")
    run("DELETE FROM lake")
    monkeypatch.undo()
    settings.cache_clear()
    building.build()


def test_files_that_are_lost_are_written_anew(lake):
    lost = next((lake / places.COMPLETE).glob("organization=*/*.json"))
    lost.unlink()

    building.mend()
    built = building.build()

    assert built["months"] == 1
    assert lost.exists()


def test_the_schedule_keeps_a_lake_that_was_begun(lake, monkeypatch):
    run("UPDATE launch SET completed = NOT completed WHERE id = :id",
        id=one_old("launch", "launched_at", where="completed IS NOT NULL"))  # fmt: skip

    monkeypatch.setattr(tasks, "_looked", lambda _: None)
    tasks.keep_lake()

    assert noted() == []


def test_the_schedule_begins_no_lake(fresh_database: Addresses, tmp_path, monkeypatch):
    monkeypatch.delenv("KEYPOOL_LAKE")
    monkeypatch.setenv("KEYPOOL_HOME", str(tmp_path))
    monkeypatch.setattr(tasks, "_looked", lambda _: None)
    settings.cache_clear()

    tasks.keep_lake()

    assert not list(tmp_path.iterdir())


def test_an_empty_system_has_an_empty_lake(fresh_database: Addresses, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYPOOL_LAKE", str(tmp_path / "lake"))
    settings.cache_clear()

    assert building.build() == {"months": 0, "files": 0, "facts": 0, "until": None}


def test_the_month_after_december_is_january():
    assert following_month(date(2026, 12, 31)) == date(2027, 1, 1)
    assert following_month(date(2026, 1, 15)) == date(2026, 2, 1)


def test_a_manifest_says_what_its_month_has(lake):
    path = next((lake / places.COMPLETE).glob("organization=*/*.json"))

    manifest = json.loads(path.read_text())

    folder = f"{path.parent.name}/month={path.stem}"
    assert manifest["rows"] == {
        fact.name: parquet.read_metadata(file).num_rows
        for fact in facts.ALL
        if (file := lake / fact.name / folder / "facts.parquet").exists()
    }
    with databases.session() as session:
        versions = session.scalars(text("SELECT version::text FROM lake_month")).all()
    assert manifest["version"] in versions
