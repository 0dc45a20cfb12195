"""The nemesis of the chaos tests: the faults, each with a proof that it took effect, chosen at random."""

import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil
import redis
from sqlalchemy import text

from tests.faults import bulk, clocks, disk, points
from tests.faults.proxy import Mode
from tests.faults.senders import Sender
from tests.faults.system import System, hint, kill, lives, living, patiently, surely
from tests.waiting import LONGEST
from worker import errors
from worker.celery import KEY_PREFIX
from worker.client import Message
from worker.database.connections import session as transaction_of
from worker.settings import settings

ONE_MORE = text("""
    CREATE TEMPORARY TABLE one_more ON COMMIT DROP AS
        SELECT repeat(md5(n::text), 32) FROM generate_series(1, 2000) AS n
""")

# Who arms a crash point has it alone until it was reached.
ARMING: dict[str, threading.Lock] = defaultdict(threading.Lock)


class MissedError(AssertionError):
    """A fault did not take effect."""


class Fault(Protocol):
    """Something that goes wrong; it proves that it did."""

    __name__: str

    def __call__(self, system: System, chance: random.Random) -> None:
        """Let it happen, once."""


# Processes ---------------------------------------------------------------------------------------


def kill_worker(system: System, chance: random.Random) -> None:
    """Kill a worker that is at work, or one of its children."""
    master = _worker(system, chance)
    kill(chance.choice([master, *_children(master)]))


def kill_worker_group(system: System, chance: random.Random) -> None:
    """Kill a worker that is at work with all its children at once."""
    master = _worker(system, chance)
    for process in [master, *_children(master)]:
        kill(process)


def kill_web(system: System, chance: random.Random) -> None:
    """Kill the web's first process, or one that serves."""
    master = patiently(lambda: with_children(system.process("web")))
    kill(chance.choice([master, *_children(master)]))


def kill_beat(system: System, chance: random.Random) -> None:
    """Kill a scheduler."""
    kill(system.process(chance.choice(patiently(lambda: system.kinds("beat")))))


def freeze_worker(system: System, chance: random.Random) -> None:
    """Stop a worker's processes for a while, in the midst of whatever they do, and wake them."""
    master = _worker(system, chance)
    _freeze(system, [master, *_children(master)], chance.uniform(1, 5))


def sleep_past_visibility(system: System, chance: random.Random) -> None:
    """Stop a settler amid its work until its hint has gone to another, and wake it."""
    with asleep_amid_settling(system):
        pass


@contextmanager
def asleep_amid_settling(system: System) -> Iterator[None]:
    """Keep a settler stopped before its commit, while the block lasts and until others have its hint.

    Its whole worker sleeps, which would otherwise end a child that takes too long.
    """
    with ARMING["before-commit-settle"]:
        sleeper = psutil.Process(_reached(armed(system, "before-commit-settle", then="stop")))
    until = time.monotonic() + system.visibility + RESTORED_EVERY
    with _frozen([sleeper.parent(), *_children(sleeper.parent())]):
        yield
        time.sleep(max(0.0, until - time.monotonic()))
        assert _is_stopped(sleeper), "the settler did not sleep that long"


def miss_five_periods(system: System, chance: random.Random) -> None:
    """Stop every scheduler for five periods of the sweep, and wake them."""
    with no_beats(system):
        time.sleep(5 * settings().settle_sweep.total_seconds())


def no_beats(system: System) -> AbstractContextManager[None]:
    """Keep every scheduler stopped while the block lasts."""
    patiently(lambda: system.kinds("beat"))
    return _frozen([system.process(name) for name in system.kinds("beat")])


def freeze_beat(system: System, chance: random.Random) -> None:
    """Stop a scheduler for a while, and wake it."""
    beat = system.process(chance.choice(patiently(lambda: system.kinds("beat"))))
    _freeze(system, [beat], chance.uniform(2, 8))


def crash_at(point: str) -> Fault:
    """Make the fault that the next process to reach a point is gone there."""

    def crash(system: System, chance: random.Random) -> None:
        with ARMING[point]:
            wait_for(armed(system, point))

    crash.__name__ = f"crash_{point.replace('-', '_')}"
    return crash


def armed(system: System, point: str, *, then: str = "crash") -> Path:
    """Arm a crash point; gives the file in which the process that reaches it writes its id."""
    fired = system.folder / f"{point}.fired"
    fired.unlink(missing_ok=True)
    fresh = system.folder / f"{point}.new"
    fresh.write_text(then)
    fresh.rename(system.folder / point)
    return fired


def wait_for(fired: Path) -> None:
    """Wait until a process has reached a crash point and is gone."""
    pid = _reached(fired)
    patiently(lambda: not any(lives(one) for one in psutil.process_iter() if one.pid == pid))


# Messages ----------------------------------------------------------------------------------------


def post_deep_json(system: System, chance: random.Random) -> None:
    """Post JSON that is nested 200,000 deep, and as deep as fits; both are refused as a sender's fault."""
    sender = Sender(system.url, system.secret)
    for depth, refusal in ((200_000, 413), (30_000, 400)):
        deep = Message("redemption.requested", f"deep-{depth}", b"[" * depth + b"]" * depth)
        status = patiently(lambda deep=deep: _unless_away(sender.post(deep)[0]))
        assert status == refusal, f"JSON nested {depth} deep was answered {status}"
    sender.client.close()


def queue_deep_json(system: System, chance: random.Random) -> None:
    """Put a hint into Redis that is nested 200,000 deep; a worker takes it, and may die of it."""
    deep = "[" * 200_000 + "]" * 200_000
    with _redis(system) as redis:
        patiently(lambda: _does(lambda: redis.lpush(QUEUE, deep)))
        patiently(lambda: _does(lambda: redis.lpos(QUEUE, deep) is None))


# Bulk --------------------------------------------------------------------------------------------


def crash_amid(work: str, when: str, prepare: Callable[[System], object]) -> Fault:
    """Make the fault that a worker is gone before or after it commits a piece of bulk work."""

    def crash(system: System, chance: random.Random) -> None:
        # Armed first: a hint of an earlier fault may still be under way, and do the work at once.
        fired = armed(system, f"{when}-commit-{work}")
        surely(lambda: prepare(system))
        surely(lambda: hint(bulk.TASKS[work]))
        wait_for(fired)

    crash.__name__ = f"crash_{when}_commit_{work}"
    return crash


# Redis -------------------------------------------------------------------------------------------


def empty_redis(system: System, chance: random.Random) -> None:
    """Kill Redis and take its data away; it comes back empty."""
    before = patiently(lambda: system.servers).redis_pid
    system.empty_redis()
    assert patiently(lambda: system.servers).redis_pid != before, "Redis was not killed"


def kill_redis(system: System, chance: random.Random) -> None:
    """Kill Redis; it comes back with what it had written."""
    _kill_redis(system, lambda: None)


def cut_redis_file_short(system: System, chance: random.Random) -> None:
    """Kill Redis and cut its append-only file anywhere."""

    def written() -> dict[Path, int]:
        surely(lambda: hint("settle"))
        time.sleep(1.1)  # it is written to the disk every second
        return sizes()

    def sizes() -> dict[Path, int]:
        files = (system.home / "redis" / "appendonlydir").glob("*.incr.aof")
        return {file: file.stat().st_size for file in files if file.stat().st_size}

    def cut() -> None:
        for file, size in sizes().items():
            os.truncate(file, chance.randrange(size))
            assert file.stat().st_size < size, "the file was not cut"

    patiently(written)
    _kill_redis(system, cut)  # while it is stopped: once it is gone, somebody may start it again


def freeze_redis(system: System, chance: random.Random) -> None:
    """Stop Redis for a while, and wake it."""
    with frozen_redis(system):
        time.sleep(_seconds(system, chance, 1, 6, longest=60))


def frozen_redis(system: System) -> AbstractContextManager[None]:
    """Keep Redis stopped while the block lasts."""
    return _frozen([living(lambda: system.servers and system.servers.redis_pid)])


# PostgreSQL --------------------------------------------------------------------------------------


def kill_postgres(system: System, chance: random.Random) -> None:
    """Kill PostgreSQL's first process; it recovers when it is started again."""
    _end_postgres(system, signal.SIGKILL)


def stop_postgres_at_once(system: System, chance: random.Random) -> None:
    """Stop PostgreSQL as in an emergency, without a checkpoint."""
    _end_postgres(system, signal.SIGQUIT)


def kill_backend(system: System, chance: random.Random) -> None:
    """Kill one connection's process; PostgreSQL throws out all others and recovers."""
    server = living(lambda: system.servers and system.servers.postgres_pid)

    def backends() -> list[psutil.Process]:
        return [one for one in server.children() if "keypool" in " ".join(_command(one))]

    kill(chance.choice(patiently(backends)))


def freeze_postgres(system: System, chance: random.Random) -> None:
    """Stop every process of PostgreSQL for a while, and wake them."""
    server = living(lambda: system.servers and system.servers.postgres_pid)
    with _frozen([server, *_children(server)]):
        time.sleep(_seconds(system, chance, 2, 6, longest=30))


# The machine -------------------------------------------------------------------------------------


def fill_disk(system: System, chance: random.Random) -> None:
    """Leave no room on the disk under PostgreSQL, Redis and the logs, and give it back."""
    with disk.full(system.home):
        patiently(_is_refused_room)
        time.sleep(_seconds(system, chance, 2, 6))
    system.revive()


def turn_clock(service: str, shift: str) -> Fault:
    """Make the fault that the clock of the first such service is wrong for a while."""

    def turned(system: System, chance: random.Random) -> None:
        with system.with_own_clock(service):
            with clocks.wrong(system.folder, service, clocks.SHIFTS[shift]()):
                time.sleep(_seconds(system, chance, 8, 12))
            time.sleep(_seconds(system, chance, 2, 6))  # it was set back, or forth, amid work

    turned.__name__ = f"{service}_{shift}"
    return turned


# Lines -------------------------------------------------------------------------------------------


def strike(line: str, mode: Mode) -> Fault:
    """Make the fault that a proxied line is reset, swallows everything, breaks midway, or stalls."""

    def struck(system: System, chance: random.Random) -> None:
        proxy = system.lines[line]
        before = proxy.struck
        with proxy.struck_by(mode):
            time.sleep(_seconds(system, chance, 0.5, 3))
            patiently(lambda: proxy.struck > before)

    struck.__name__ = f"{line}_{mode}"
    return struck


# Storms ------------------------------------------------------------------------------------------


WORKERS = (kill_worker, kill_worker_group, freeze_worker)
BEATS = (kill_beat, freeze_beat)
MESSAGES = (post_deep_json, queue_deep_json)
BULK = tuple(
    crash_amid(work, when, prepare)
    for work, prepare in (("work_chunk", bulk.want_keys), ("bill", bulk.owe_months))
    for when in ("before", "after")
)
REDIS = (empty_redis, kill_redis, cut_redis_file_short, freeze_redis)
POSTGRES = (kill_postgres, stop_postgres_at_once, kill_backend, freeze_postgres)


def clocks_of(service: str) -> tuple[Fault, ...]:
    """Give the faults of a service's clock."""
    return tuple(turn_clock(service, shift) for shift in clocks.SHIFTS)


def breaks(line: str) -> tuple[Fault, ...]:
    """Give the faults of a line."""
    return tuple(strike(line, mode) for mode in ("reset", "hole", "half", "stall"))


def crashes(service: str) -> tuple[Fault, ...]:
    """Give the crashes at the points that a service's processes reach."""
    return tuple(crash_at(point) for point in points.OF_AN_EVENT[service])


SERVICES = ("worker", "beat", "web")
CLOCKS = tuple(fault for service in SERVICES for fault in clocks_of(service))
LINES = tuple(fault for line in ("web", "postgres", "redis") for fault in breaks(line))
POINTS = tuple(fault for service in SERVICES for fault in crashes(service))
RESTORED_EVERY = 10  # seconds between a worker's looks at the hints that nobody acknowledged
CHILDREN = 2  # of a worker, and of the web
QUEUE = f"{KEY_PREFIX}celery"


def _seconds(
    system: System, chance: random.Random, low: float, high: float, *, longest: float = 0
) -> float:
    """Say how long a fault lasts; at full pace, one in ten as long as it may."""
    if longest and system.pace == 1 and chance.random() < 0.1:
        return longest
    return chance.uniform(low, high) * system.pace


def _freeze(system: System, processes: list[psutil.Process], seconds: float) -> None:
    with _frozen(processes):
        time.sleep(seconds * system.pace)


@contextmanager
def _frozen(processes: list[psutil.Process]) -> Iterator[None]:
    stopped = []
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                stopped.append(process)
        assert stopped, "there was nobody to stop"
        patiently(lambda: all(_is_stopped(one) or not lives(one) for one in stopped))
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _worker(system: System, chance: random.Random) -> psutil.Process:
    """Choose a worker that has started its children."""
    name = chance.choice(patiently(lambda: system.kinds("worker")))
    return patiently(lambda: with_children(system.process(name)))


def with_children(process: psutil.Process) -> psutil.Process | None:
    """Give a process if it has started its children, and so is at work."""
    return process if len(_children(process)) >= CHILDREN else None


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return [one for one in process.children(recursive=True) if lives(one)]
    return []


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


@contextmanager
def _redis(system: System) -> Iterator[redis.Redis]:
    address = patiently(lambda: system.servers).redis_url.replace("redis+socket://", "unix://")
    with redis.Redis.from_url(address, socket_timeout=5) as client:
        yield client


def _does(ask: Callable[[], object]) -> object:
    """Ask Redis; give nothing while it is away."""
    with suppress(redis.RedisError):
        return ask()
    return None


def _unless_away(status: int) -> int:
    """Give an answer's status, unless nobody answered or the database was away."""
    return 0 if status == 503 else status


def _reached(fired: Path) -> int:
    """Wait until a process has reached a point, and give its id."""
    try:
        return int(patiently(lambda: fired.exists() and _number(fired)))
    except AssertionError:
        fired.with_suffix("").unlink(missing_ok=True)
        raise MissedError(f"nobody came to {fired.stem}") from None


def _number(file: Path) -> str:
    """Give a file's number, once it has one: it said before what is to be done."""
    said = file.read_text()
    return said if said.isdecimal() else ""


def _is_refused_room() -> bool:
    """Say whether PostgreSQL lacks room for 2 MB, or is away for want of it."""
    try:
        with transaction_of() as session:
            session.execute(ONE_MORE)
    except errors.DatabaseAwayError:
        return True
    return False


def _kill_redis(system: System, first: Callable[[], object]) -> None:
    server = living(lambda: system.servers and system.servers.redis_pid)
    with _frozen([server]):
        first()
        kill(server)
    system.revive()
    after = patiently(lambda: system.servers).redis_pid
    assert after != server.pid, "Redis was not killed"


def _end_postgres(system: System, how: signal.Signals) -> None:
    server = living(lambda: system.servers and system.servers.postgres_pid)
    server.send_signal(how)
    server.wait(LONGEST)
    system.revive()
    after = patiently(lambda: system.servers).postgres_pid
    assert after != server.pid, "PostgreSQL was not stopped"
