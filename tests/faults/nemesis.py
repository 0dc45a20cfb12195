"""The nemesis: what goes wrong, each fault with the proof that it did, chosen by a seeded chance."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psutil

from tests.faults import points
from tests.faults.proxy import Mode
from tests.faults.system import System, kill, patiently


class MissedError(AssertionError):
    """A fault did not take effect."""


class Fault(Protocol):
    """Something that goes wrong; it proves that it did."""

    __name__: str

    def __call__(self, system: System, chance: random.Random) -> None:
        """Let it happen, once."""


# Processes ---------------------------------------------------------------------------------------


def kill_worker(system: System, chance: random.Random) -> None:
    """Kill a worker, or one of its children."""
    master = system.process(chance.choice(patiently(lambda: system.kinds("worker"))))
    kill(chance.choice([master, *_children(master)]))


def kill_worker_group(system: System, chance: random.Random) -> None:
    """Kill a worker with all its children at once."""
    master = system.process(chance.choice(patiently(lambda: system.kinds("worker"))))
    for process in [master, *_children(master)]:
        kill(process)


def kill_web(system: System, chance: random.Random) -> None:
    """Kill the web's first process, or one that serves."""
    master = system.process("web")
    kill(chance.choice([master, *_children(master)]))


def kill_beat(system: System, chance: random.Random) -> None:
    """Kill a scheduler."""
    kill(system.process(chance.choice(patiently(lambda: system.kinds("beat")))))


def freeze_worker(system: System, chance: random.Random) -> None:
    """Stop a worker's processes for a while, in the midst of whatever they do, and wake them."""
    master = system.process(chance.choice(patiently(lambda: system.kinds("worker"))))
    _freeze([master, *_children(master)], chance.uniform(1, 5))


def freeze_beat(system: System, chance: random.Random) -> None:
    """Stop a scheduler for a while, and wake it."""
    beat = system.process(chance.choice(patiently(lambda: system.kinds("beat"))))
    _freeze([beat], chance.uniform(2, 8))


def crash_at(point: str) -> Fault:
    """Make the fault that the next process to reach a point is gone there."""

    def crash(system: System, chance: random.Random) -> None:
        wait_for(armed(system, point))

    crash.__name__ = f"crash_{point.replace('-', '_')}"
    return crash


def armed(system: System, point: str) -> Path:
    """Arm a crash point; gives the file in which the process that reaches it writes its id."""
    fired = system.folder / f"{point}.fired"
    fired.unlink(missing_ok=True)
    (system.folder / point).touch()
    return fired


def wait_for(fired: Path) -> None:
    """Wait until a process has reached a crash point and is gone."""
    try:
        pid = int(patiently(lambda: fired.exists() and fired.read_text(), 60))
    except AssertionError:
        fired.with_suffix("").unlink(missing_ok=True)
        raise MissedError(f"nobody came to {fired.stem}") from None
    patiently(lambda: not _lives(pid))


# Redis -------------------------------------------------------------------------------------------


def empty_redis(system: System, chance: random.Random) -> None:
    """Kill Redis and take its data away; it comes back empty."""
    _kill_redis(system, lambda: shutil.rmtree(_aof(system), ignore_errors=True))


def kill_redis(system: System, chance: random.Random) -> None:
    """Kill Redis; it comes back with what it had written."""
    _kill_redis(system, lambda: None)


def cut_redis_file_short(system: System, chance: random.Random) -> None:
    """Kill Redis and cut its append-only file anywhere."""

    def cut() -> None:
        for file in sorted(_aof(system).glob("*.incr.aof")):
            size = file.stat().st_size
            with suppress(OSError), file.open("r+b") as opened:
                opened.truncate(chance.randrange(max(size, 1)))
                assert opened.seek(0, 2) < max(size, 1), "the file was not cut"

    _kill_redis(system, cut)


def freeze_redis(system: System, chance: random.Random) -> None:
    """Stop Redis for a while, and wake it."""
    with frozen_redis(system):
        time.sleep(chance.uniform(1, 6))


def frozen_redis(system: System) -> AbstractContextManager[None]:
    """Keep Redis stopped while the block lasts."""
    return _frozen([psutil.Process(patiently(lambda: system.servers).redis_pid)])


# PostgreSQL --------------------------------------------------------------------------------------


def kill_postgres(system: System, chance: random.Random) -> None:
    """Kill PostgreSQL's first process; it recovers when it is started again."""
    _end_postgres(system, signal.SIGKILL)


def stop_postgres_at_once(system: System, chance: random.Random) -> None:
    """Stop PostgreSQL as in an emergency, without a checkpoint."""
    _end_postgres(system, signal.SIGQUIT)


def kill_backend(system: System, chance: random.Random) -> None:
    """Kill one connection's process; PostgreSQL throws out all others and recovers."""
    server = psutil.Process(patiently(lambda: system.servers).postgres_pid)

    def backends() -> list[psutil.Process]:
        return [one for one in server.children() if "keypool" in " ".join(_command(one))]

    kill(chance.choice(patiently(backends)))


def freeze_postgres(system: System, chance: random.Random) -> None:
    """Stop every process of PostgreSQL for a while, and wake them."""
    server = psutil.Process(patiently(lambda: system.servers).postgres_pid)
    _freeze([server, *_children(server)], chance.uniform(2, 6))


# Lines -------------------------------------------------------------------------------------------


def strike(line: str, mode: Mode) -> Fault:
    """Make the fault that a proxied line is reset, swallows everything, or breaks midway."""

    def struck(system: System, chance: random.Random) -> None:
        proxy = system.lines[line]
        before = proxy.struck
        with proxy.struck_by(mode):
            time.sleep(chance.uniform(0.5, 3))
            patiently(lambda: proxy.struck > before)

    struck.__name__ = f"{line}_{mode}"
    return struck


# Storms ------------------------------------------------------------------------------------------


PROCESSES = (kill_worker, kill_worker_group, kill_web, kill_beat, freeze_worker, freeze_beat)
REDIS = (empty_redis, kill_redis, cut_redis_file_short, freeze_redis)
POSTGRES = (kill_postgres, stop_postgres_at_once, kill_backend, freeze_postgres)
LINES: tuple[Fault, ...] = tuple(
    strike(line, mode)
    for line in ("web", "postgres", "redis")
    for mode in ("reset", "hole", "half")
)
POINTS: tuple[Fault, ...] = tuple(crash_at(point) for point in points.OF_AN_EVENT)


def storm(system: System, fault: Fault, *, times: int, pause: float, chance: random.Random) -> None:
    """Let a fault happen so many times, with a pause after each."""
    for _ in range(times):
        fault(system, chance)
        time.sleep(chance.uniform(0.5, 1.5) * pause)


def _freeze(processes: list[psutil.Process], seconds: float) -> None:
    with _frozen(processes):
        time.sleep(seconds)


@contextmanager
def _frozen(processes: list[psutil.Process]) -> Iterator[None]:
    stopped = []
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
                stopped.append(process)
        patiently(lambda: any(_is_stopped(process) for process in stopped))
        yield
    finally:
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _command(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _aof(system: System) -> Path:
    return system.home / "redis" / "appendonlydir"


def _kill_redis(system: System, meanwhile: Callable[[], object]) -> None:
    before = patiently(lambda: system.servers).redis_pid
    kill(psutil.Process(before))
    meanwhile()
    after = patiently(lambda: system.servers).redis_pid
    assert after != before, "Redis was not killed"


def _end_postgres(system: System, how: signal.Signals) -> None:
    before = patiently(lambda: system.servers).postgres_pid
    server = psutil.Process(before)
    server.send_signal(how)
    server.wait(30)
    after = patiently(lambda: system.servers).postgres_pid
    assert after != before, "PostgreSQL was not stopped"
