"""Clocks that go wrong in one service and not in the others, where the system has libfaketime.

A service's clock is a file of the harness: what it says is added to the service's time within a
second. PostgreSQL's clock is right: it is the one that decides.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.faults import points
from tests.waiting import LONGEST

ZONE = ZoneInfo("Europe/Berlin")
PLACES = ("lib/faketime", "lib64/faketime", "lib/*/faketime", "local/lib/faketime")
LIBRARY = next(
    (found for place in PLACES for found in Path("/usr").glob(f"{place}/libfaketimeMT.so.1")), None
)
needed = pytest.mark.skipif(LIBRARY is None, reason="this system has no libfaketime")

MEMORY = Path("/dev/shm")  # noqa: S108  # where it is, not a place for temporary files

HOUR, DAY = 3600, 86400


def of_its_own(folder: Path, service: str) -> dict[str, str]:
    """Give the environment with which a service has a clock of its own."""
    set_by(folder, service, 0)
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(_file(folder, service)),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAULTS_CLOCK": str(_shown(folder, service)),
        "TZ": str(ZONE),
    }


def set_by(folder: Path, service: str, seconds: float) -> None:
    """Set a service's clock so many seconds ahead of the true time."""
    fresh = _file(folder, service).with_suffix(".new")
    fresh.write_text(f"{seconds:+.0f}")
    fresh.replace(_file(folder, service))


@contextmanager
def tidied(folder: Path) -> Iterator[None]:
    """Remove at the end what libfaketime made in memory for each process: killed ones leave it."""
    try:
        yield
    finally:
        noted = folder / points.SHARED
        for name in noted.read_text().replace("/", " ").split() if noted.exists() else []:
            file = f"sem.{name}" if name.startswith("faketime_sem_") else name
            (MEMORY / file).unlink(missing_ok=True)


@contextmanager
def wrong(folder: Path, service: str, seconds: float) -> Iterator[None]:
    """Let a service's clock be wrong while the block lasts, and right again, as it tells itself."""
    set_by(folder, service, seconds)
    try:
        _wait_until_told(folder, service, seconds)
        yield
    finally:
        set_by(folder, service, 0)
    _wait_until_told(folder, service, 0)


def _wait_until_told(folder: Path, service: str, seconds: float) -> None:
    deadline = time.monotonic() + LONGEST
    while abs(_told(folder, service) - time.time() - seconds) > HOUR / 60:
        assert time.monotonic() < deadline, f"the clock of {service} is not {seconds:+.0f} s ahead"
        time.sleep(0.1)


def before_change(*, to_summer: bool, by: float) -> float:
    """Give the seconds from now to so many before the next change to summer or winter time."""
    now = datetime.fromtimestamp(time.time(), UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    while True:
        before, hour = hour.astimezone(ZONE).dst(), hour + timedelta(hours=1)
        after = hour.astimezone(ZONE).dst()
        if before != after and bool(after) is to_summer:
            return (hour - now).total_seconds() - by


def _file(folder: Path, service: str) -> Path:
    (folder / "clocks").mkdir(exist_ok=True)
    return folder / "clocks" / service


def _shown(folder: Path, service: str) -> Path:
    return _file(folder, service).with_suffix(".shown")


def _told(folder: Path, service: str) -> float:
    try:
        return float(_shown(folder, service).read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


# How many seconds ahead of the true time a clock is set. The changes come while the fault lasts.
SHIFTS: dict[str, Callable[[], float]] = {
    "two_hours_ahead": lambda: 2 * HOUR,
    "two_hours_behind": lambda: -2 * HOUR,
    "a_day_ahead": lambda: DAY,
    "a_day_behind": lambda: -DAY,
    "into_summer_time": lambda: before_change(to_summer=True, by=1),
    "into_winter_time": lambda: before_change(to_summer=False, by=1),
}
