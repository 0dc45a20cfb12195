"""What tests of pools start from."""

import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.conftest import Addresses
from tests.world import World
from worker.database import connections


@pytest.fixture
def world(session: Session) -> World:
    """A world of the test's own."""
    return worlds.build(session)


@pytest.fixture
def committed(fresh_database: Addresses) -> World:
    """A world that other transactions see, with 100 keys."""
    with connections.session() as opened:
        made = worlds.build(opened)
        made.keys(100)
        return made
