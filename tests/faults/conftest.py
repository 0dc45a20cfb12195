"""The chance of a storm: seeded, and its seed printed, so that the same storm can come again."""

import logging
import os
import random
from collections.abc import Generator
from pathlib import Path

import pytest

SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
LAST_LINES = 40  # of a log's last lines, where a storm failed

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each answer would hide all others


@pytest.fixture
def chance() -> random.Random:
    """What chooses faults; FAULTS_SEED sets it."""
    print(f"FAULTS_SEED={SEED}")  # noqa: T201  # shown when the storm's test fails
    return random.Random(SEED)  # noqa: S311  # a storm is to be repeated, not to be secret


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give storms more time than other tests: where one hangs, its worker would be taken along."""
    for item in items:
        if "tests/faults" in item.path.as_posix() and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell what the services said last, where a storm failed: their home goes with it."""
    report = yield
    system = getattr(item, "funcargs", {}).get("system")
    if report.failed and system:
        logs = sorted((system.home / "log").glob("*.log"))
        report.sections += [(log.name, last_lines(log)) for log in logs]
    return report


def last_lines(log: Path) -> str:
    """Give the end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
