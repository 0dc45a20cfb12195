"""The chance of a storm: seeded, and its seed printed, so that the same storm can come again."""

import os
import random

import pytest

SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))


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
