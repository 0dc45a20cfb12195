"""A small history with its lake."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import Addresses
from worker import simulation
from worker.database import connections as databases
from worker.reporting.lake import building
from worker.settings import settings


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the lake, which the settings name."""
    folder = tmp_path_factory.mktemp("lake") / "lake"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEYPOOL_LAKE", str(folder))
        settings.cache_clear()
        yield folder
    settings.cache_clear()


@pytest.fixture(scope="module")
def history(database: Addresses, home: Path) -> None:
    """Four months of three organizations, with labels, billed."""
    databases.transaction(simulation.simulate, organizations=3, months=4, redemptions=500, seed=3)
    simulation.bill()
    run("UPDATE key SET labels = '{secret-label,b}' WHERE id % 3 = 0")
    run("UPDATE distribution SET reference = 'ORDER-' || id WHERE id % 2 = 0")


@pytest.fixture(scope="module")
def lake(history: None, home: Path) -> Path:
    """The lake of that history, whole."""
    building.build()
    return home


def run(statement: str, **parameters: object) -> list[tuple]:
    """Run one statement and commit; give its rows."""
    with databases.session() as session:
        result = session.execute(text(statement), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []
