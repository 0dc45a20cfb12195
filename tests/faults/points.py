"""Failpoints in the product's processes: places to crash at, slow commits, poison, a trace.

Nothing of it is in the product. The harness puts a `sitecustomize` on the path of the processes
that it starts, and that calls `come_aboard`.

A crash point is a moment at a boundary: before and after each commit, publish and acknowledgement.
It is armed by a file of its name in FAULTS_FOLDER; the first process that reaches it takes the
file, writes its id and is gone, with no chance to tidy up. Where the file says `stop`, it is stopped
there instead, until somebody wakes it.
"""

import functools
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))
SLOW = {
    name: float(seconds)
    for name, _, seconds in (
        pair.partition(":") for pair in os.environ.get("FAULTS_SLOW", "").split(",") if pair
    )
}
HURRY = dict(pair.split(":") for pair in os.environ.get("FAULTS_HURRY", "").split(",") if pair)
CLOCK = os.environ.get("FAULTS_CLOCK")  # where this process tells what its clock says
SHARED = (
    "clocks/shared"  # what libfaketime made in memory for each process, which a killed one leaves
)
TRACE = "decided"  # who decided a tree's events from when to when: its lock must have been held
DEADLY, BUGGY = "deadly-", "buggy-"  # how the addresses of poisonous messages begin

# The points of the road that an event takes, by who reaches them; batches and bills have their own commits.
OF_AN_EVENT = {
    "web": (
        "before-commit-record",
        "after-commit-record",
        "before-publish-web",
        "after-publish-web",
    ),
    "beat": ("before-publish-beat", "after-publish-beat"),
    "worker": (
        "before-commit-claim",
        "after-commit-claim",
        "before-commit-settle",
        "after-commit-settle",
        "before-ack",
        "after-ack",
    ),
}


def come_aboard() -> None:
    """Prepare this process for its faults, and plant the bug that FAULTS_PLANT names."""
    from tests.faults import plants

    _mind_the_clock()
    _hurry()
    _watch_commits()
    _watch_records()
    _watch_messages()
    _poison()
    plants.plant(os.environ.get("FAULTS_PLANT", ""))


def reach(point: str) -> None:
    """Be gone, if this point is armed; of several processes that reach it, one is."""
    fired = FOLDER / f"{point}.fired"
    try:
        (FOLDER / point).rename(fired)
    except FileNotFoundError:
        return
    stop = fired.read_text() == "stop"
    fired.write_text(str(os.getpid()))
    if not stop:
        os._exit(137)
    os.kill(os.getpid(), signal.SIGSTOP)


def _mind_the_clock() -> None:
    if CLOCK:
        _append(SHARED, os.environ.get("FAKETIME_SHARED", "") + "\n")
        _sleep_truly()
        _tell_the_time(CLOCK)
    _skew()


def _tell_the_time(file: str) -> None:
    """Write down what the clock says, again and again, where the service's work is done.

    A process that forks has no thread for that: it may hold a lock of libfaketime's at the fork,
    for which the child would wait without end. Beat has one from when it is ready: under libfaketime a
    thread spins while it waits for one that imports.
    """

    def tell() -> None:
        while True:
            Path(file).write_text(str(time.time()))
            time.sleep(0.2)

    def begin() -> None:
        threading.Thread(target=tell, daemon=True).start()

    if "beat" in sys.orig_argv:
        from celery.signals import beat_init

        beat_init.connect(lambda **_: begin(), weak=False)
    elif not {"worker", "webhook"} & set(sys.orig_argv):
        begin()
    os.register_at_fork(after_in_child=begin)


def _skew() -> None:
    """Let the worker's own clock be wrong by FAULTS_SKEW seconds, where the system cannot."""
    skew = float(os.environ.get("FAULTS_SKEW", "0"))
    if skew and _kind() == "worker":
        real = time.time
        time.time = lambda: real() + skew  # a process's own, for this process alone


def _sleep_truly() -> None:
    """Sleep by the kernel's own count: libfaketime gets a moment of the monotonic clock wrong."""
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None


def _hurry() -> None:
    """Shorten what a storm would wait for: when a hint is given to another, a transaction ended.

    And generations are cut into smaller chunks.
    """
    from worker import celery
    from worker.database import connections
    from worker.pools import making

    if "visibility" in HURRY:
        transport, seconds = celery.transport, float(HURRY["visibility"])
        celery.transport = lambda timeout: transport(timeout) | {"visibility_timeout": seconds}
    if "chunk" in HURRY:
        making.KEYS_PER_CHUNK = int(HURRY["chunk"])
    if "idle" in HURRY:
        limits = connections.TIMEOUTS[connections.Login.OWNER]
        limits["idle_in_transaction_session_timeout"] = f"{HURRY['idle']}s"


def _watch_commits() -> None:
    from psycopg import Connection

    commit, claimed = Connection.commit, _watch_claims()

    def watched(self: Any) -> None:
        doing = _doing()
        time.sleep(SLOW.get(doing, 0))
        reach(f"before-commit-{doing}")
        trees = claimed.copy() if doing == "settle" else {}
        if doing != "claim":
            claimed.clear()  # they are settled, or were given up
        until = time.monotonic()
        commit(self)
        for tree, since in trees.items():
            _append(TRACE, f"{os.getpid()} {since} {until} {tree}\n")
        reach(f"after-commit-{doing}")

    Connection.commit = watched


def _watch_claims() -> dict[int, float]:
    """Give the trees that this process has claimed last, and since when it has held their locks."""
    from worker.redemption import settling

    claim, claimed = settling._claim, dict[int, float]()

    @functools.wraps(claim)
    def watched(session: Any, *, trees: list[int], limit: int) -> Any:
        claimed.clear()
        claimed.update(dict.fromkeys(trees, time.monotonic()))
        return claim(session, trees=trees, limit=limit)

    settling._claim = watched
    return claimed


def _watch_records() -> None:
    """Watch what the receiver records, which is committed by the statement that records it."""
    from worker.redemption import groups, inbox

    inbox.record = _recording(inbox.record)
    groups.record = _recording(groups.record)


def _recording(record: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(record)
    def watched(*args: Any, **given: Any) -> Any:
        time.sleep(SLOW.get("record", 0))
        reach("before-commit-record")
        recorded = record(*args, **given)
        reach("after-commit-record")
        return recorded

    return watched


def _watch_messages() -> None:
    from kombu import Producer
    from kombu.message import Message

    Producer.publish = _pointed(Producer.publish, f"publish-{_kind()}")
    Message.ack = _pointed(Message.ack, "ack")


def _poison() -> None:
    """Let a settler die on deadly events, and fail on buggy ones, as a bug of ours would have it."""
    from sqlalchemy import text

    from worker.redemption import deciding

    poisonous = text(
        "SELECT max(data #>> '{learner,email}') FROM event WHERE id = ANY (:ids)"
        " AND (data #>> '{learner,email}' LIKE :deadly OR data #>> '{learner,email}' LIKE :buggy)"
    )
    settle = deciding.settle

    @functools.wraps(settle)
    def poisoned(session: Any, *, event_ids: list[int]) -> list[str]:
        given = {"ids": event_ids, "deadly": f"{DEADLY}%", "buggy": f"{BUGGY}%"}
        email = session.scalar(poisonous, given) or ""
        if email.startswith(DEADLY):
            _append("deaths", f"{os.getpid()}\n")
            os._exit(9)
        if email.startswith(BUGGY):
            raise RuntimeError("a planted bug met its message")
        return settle(session, event_ids=event_ids)

    deciding.settle = poisoned


def _pointed(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def pointed(*args: Any, **kwargs: Any) -> Any:
        reach(f"before-{name}")
        result = function(*args, **kwargs)
        reach(f"after-{name}")
        return result

    return pointed


def _doing() -> str:
    """Say what is being committed: the function that runs in the transaction."""
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "transaction" and "function" in frame.f_locals:
            return str(frame.f_locals["function"].__name__).strip("_")
        if code.co_name == "settle_batch":
            return "settle"
        frame = frame.f_back
    return "other"


def _kind() -> str:
    if "celery" not in sys.orig_argv:
        return "web"
    return "beat" if "beat" in sys.orig_argv else "worker"


def _append(name: str, line: str) -> None:
    with (FOLDER / name).open("a") as lines:
        lines.write(line)
