"""Workbooks are read in the tests' own process here: what a process of its own adds is test_apart.py's."""

import pytest

from worker.pools.reading import apart, workbooks


@pytest.fixture(autouse=True)
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read workbooks without a process of their own."""
    monkeypatch.setattr(apart, "read", workbooks.read)
