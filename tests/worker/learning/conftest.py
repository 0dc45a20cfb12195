"""What tests of learning start from."""

import pytest
from sqlalchemy.orm import Session

from tests import world as worlds
from tests.world import World


@pytest.fixture
def world(session: Session) -> World:
    """A world whose pool is shared with the children."""
    return worlds.build(session, share_with_children=True)
