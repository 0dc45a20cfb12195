import threading

from webhook.http import nudging
from worker import tasks


def test_what_was_asked_for_before_is_always_nudged_for_after(monkeypatch):
    nudged, sent = [], threading.Event()
    monkeypatch.setattr(tasks, "nudge", lambda task: (nudged.append(task), sent.set()))
    nudger = nudging.Nudger()

    for _ in range(3):
        sent.clear()
        nudger.ask("settle")
        assert sent.wait(5)

    assert nudged[-1] == "settle"


def test_many_requests_are_few_hints(monkeypatch):
    nudged, go, done = [], threading.Event(), threading.Event()

    def nudge(task: str) -> None:
        nudged.append(task)
        go.wait(5)
        if task == "work_batches":
            done.set()

    monkeypatch.setattr(tasks, "nudge", nudge)
    nudger = nudging.Nudger()
    for _ in range(500):
        nudger.ask("settle")
    nudger.ask("work_batches")
    go.set()

    assert done.wait(5)
    assert len(nudged) <= 4
