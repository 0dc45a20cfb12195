"""How names, ids and labels are found."""

import pytest

from tests import world as worlds
from tests.world import OPERATOR
from worker import errors
from worker.learning import assignments
from worker.reporting import keeping


@pytest.fixture
def world(session):
    return worlds.build(session)


@pytest.mark.parametrize(
    ("listing", "filters", "sentence"),
    [
        (assignments.listing, {"status": "x"}, "not a status; one of active, expired, cancelled."),
        (keeping.listing, {"state": "x"}, "not a state; one of queued, running, done, failed."),
    ],
)
def test_a_list_refuses_a_label_that_there_is_not_and_names_those_there_are(
    world, listing, filters, sentence
):
    with pytest.raises(errors.InvalidInputError, match=sentence) as refused:
        listing(world.session, actor=OPERATOR, **filters)

    assert str(refused.value).startswith("“x” is ")
