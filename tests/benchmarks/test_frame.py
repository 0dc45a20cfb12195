import json
from contextlib import nullcontext

import pytest

from benchmarks import calibration, frame, record
from worker.machine import embedded

ROUNDS = [
    frame.Round(ours=4, limit=8, lean=10, notes={"s": 1}),
    frame.Round(ours=3, limit=6, lean=5, notes={"s": 3}),
    frame.Round(ours=6, limit=6, lean=30, notes={"s": 2}),
]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where runs without servers keep their results; their calibration loop takes 40 ms."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(calibration, "milliseconds", lambda: 40.0)
    monkeypatch.setattr(embedded, "scratch", lambda: nullcontext(None))
    monkeypatch.setattr(frame, "BENCHMARKS", {})
    return tmp_path


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    about = frame.Benchmark("a", "things/s", 1, lambda *_: ROUNDS[0])

    result = frame.summarize(about, 1, ROUNDS, {"median": 40.0}, "2026-11-29T12:00:00Z")

    assert (result.ours, result.lean, result.limit) == (4, 10, 6)
    assert (result.ratio_to_limit, result.ratio_to_lean, result.ratio_to_peer) == (0.5, 0.4, None)
    assert result.notes == {"s": 2}


def test_a_run_keeps_each_result_and_one_row_of_history(folder):
    rounds = iter(ROUNDS)
    frame.benchmark("a", unit="things/s", n=100)(lambda _rig, _count: next(rounds))

    frame.run([], rounds=3, scale=0.2, tell=lambda _: None)

    (kept,) = record.kept()
    assert (kept.n, kept.calibration_ms["slowest"], kept.made_at) == (20, 40.0, kept.made_at)
    (row,) = history(folder)
    assert row["benchmarks"]["a"]["ratio_to_lean"] == 0.4
    assert (row["made_at"], row["scale"], row["rounds"]) == (kept.made_at, 0.2, 3)


def test_a_run_that_breaks_off_keeps_what_it_measured(folder):
    frame.benchmark("a", unit="things/s", n=1)(lambda _rig, _count: ROUNDS[0])
    frame.benchmark("b", unit="things/s", n=1)(lambda _rig, _count: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        frame.run([], rounds=1, scale=1, tell=lambda _: None)

    assert [list(row["benchmarks"]) for row in history(folder)] == [["a"]]
