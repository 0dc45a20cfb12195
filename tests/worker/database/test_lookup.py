"""How names, ids and labels are found."""

import pytest

from worker import errors
from worker.database import lookup
from worker.tables.labels import ReportState


def test_a_label_that_there_is_not_is_refused_and_those_there_are_are_named():
    with pytest.raises(errors.InvalidInputError) as refused:
        lookup.label(ReportState, "x", field="state")

    assert str(refused.value) == "“x” is not a state; one of queued, running, done, failed."
    assert lookup.label(ReportState, "done", field="state") is ReportState.DONE
