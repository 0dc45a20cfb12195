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
