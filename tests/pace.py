"""How a run of the tests uses its machine: files in memory, long files first, no processor idle.

A plugin of pytest's that pyproject.toml names, so that it is there before the first folder is made.
"""

import gc
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
MEMORY = Path("/dev/shm")  # noqa: S108  # in it, pytest makes a folder of the user's own
ROOM = 3 << 30  # bytes: thrice what a run of all tests takes at once
GARBAGE = (20_000, 20, 50)  # thresholds of gc

# Whole systems that start, storm and wait: beside them the others run, and none of these comes last.
LONGEST_FIRST = (
    "tests/faults/test_plants.py",
    "tests/faults/test_faults.py",
    "tests/faults/test_crowds.py",
    "tests/worker/test_demo.py",
    "tests/webhook/console/test_browser_desk.py",
    "tests/worker/machine/test_embedded.py",
    "tests/webhook/console/test_browser_pools.py",
    "tests/worker/cli/test_up.py",
    "tests/worker/pools/test_batches.py",
    "tests/worker/redemption/test_settling.py",
    "tests/webhook/console/test_looks.py",
    "tests/worker/reporting/test_running.py",
    "tests/notebooks/test_notebooks.py",
    "tests/test_compose.py",
    "tests/worker/reporting/test_keeping.py",
    "tests/worker/billing/test_ledger.py",
)
LONG = 0.04  # of a whole run: a file that takes more and is not among those is told of
WHOLE = 1000  # tests; a run of fewer says nothing of the order


def files_in_memory() -> str | None:
    """Give the folder in memory for the tests' files, where there is one with room for them.

    A database costs ten times the processor on a disk. Programs are among the files, too.
    """
    try:
        there = os.statvfs(MEMORY)
    except OSError:
        return None
    room = there.f_bavail * there.f_frsize >= ROOM and os.access(MEMORY, os.W_OK)
    return str(MEMORY) if room and not there.f_flag & os.ST_NOEXEC else None


if "TMPDIR" not in os.environ and (folder := files_in_memory()):
    os.environ["TMPDIR"] = tempfile.tempdir = folder


gc.disable()  # until all tests are collected: what is imported is no garbage


def pytest_xdist_auto_num_workers() -> int:
    """Give half as many processes again as there are processors: tests of processes wait a lot."""
    return -(-3 * len(os.sched_getaffinity(0)) // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the others stay in the order of the tree."""
    places = {HOUSE / file: place for place, file in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the files that should be among the long ones, so that the order keeps up with the tests."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    seconds: dict[str, float] = defaultdict(float)
    tests = set()
    for report in reports:
        if isinstance(report, pytest.TestReport):
            seconds[report.nodeid.partition("::")[0]] += report.duration
            tests.add(report.nodeid)
    if len(tests) >= WHOLE:
        for line in late(seconds):
            terminalreporter.write_line(line)


def late(seconds: Mapping[str, float]) -> list[str]:
    """Say which long files are not put first, given how long each took."""
    long = sum(seconds.values()) * LONG
    return [
        f"{file} took {took:.0f} s: put it into LONGEST_FIRST of tests/pace.py."
        for file, took in seconds.items()
        if took > long and file not in LONGEST_FIRST
    ]


def pytest_collection_finish() -> None:
    """Look for garbage more seldom, and never among what lives as long as the run.

    As Python has it, a fifth of the processor that the tests' own processes take goes there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    gc.enable()
