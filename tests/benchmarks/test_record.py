import json

import pytest

from benchmarks import calibration, record
from benchmarks.record import Result, Run, keep, kept, note

RUN = Run("2026-11-29T12:00:00Z", scale=0.2, rounds=3)
LOOPS = {"fastest": 40.0, "median": 41.0, "slowest": 80.0}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def result(name, ours, **more):
    return Result(name, "things/s", 100, ours, **more)


def test_a_result_takes_the_place_of_the_one_by_its_name(folder):
    keep(result("b", 1), run=RUN, order=["a", "b"])
    keep(result("a", 2), run=RUN, order=["a", "b"])
    keep(result("b", 3, lean=6.0, ratio_to_lean=0.5), run=RUN, order=["a", "b"])

    document = json.loads((folder / "latest.json").read_text())
    assert (document["made_at"], document["scale"]) == ("2026-11-29T12:00:00Z", 0.2)
    assert [(line.name, line.ours) for line in kept()] == [("a", 2), ("b", 3)]
    assert document["benchmarks"][1]["ratio_to_lean"] == 0.5


def test_results_of_before_there_were_lean_limits_are_read(folder):
    old = {"name": "a", "unit": "things/s", "n": 1, "ours": 2.0, "limit": 4.0, "peer": None}
    (folder / "latest.json").write_text(json.dumps({"benchmarks": [old]}))

    (line,) = kept()

    assert (line.limit, line.lean, line.calibration_ms) == (4.0, None, {})


def test_the_history_grows_by_a_row_a_run(folder):
    note(RUN, [result("a", 2, ratio_to_lean=0.5)], calibration_ms=LOOPS)
    note(RUN, [], calibration_ms=LOOPS)

    first, second = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    assert first == {
        "made_at": "2026-11-29T12:00:00Z",
        "scale": 0.2,
        "rounds": 3,
        "calibration_ms": LOOPS,
        "benchmarks": {"a": {"n": 100, "ours": 2, "ratio_to_lean": 0.5}},
    }
    assert second["benchmarks"] == {}


def test_the_loops_are_told_by_their_fastest_median_and_slowest():
    assert calibration.milliseconds() > 0
    assert calibration.summary([80.0, 40.04, 41.0]) == LOOPS
