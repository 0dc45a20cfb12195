"""The estimators, against published figures and their laws."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.reporting.estimating import Incidence, incidence

# Weeks to relapse under 6-mercaptopurine, and those in remission when last seen: Freireich and others, Blood 21
# (1963), 699-716. The estimates are those of textbooks since, such as Cox and Oakes (1984).
RELAPSED = (6, 6, 6, 7, 10, 13, 16, 22, 23)
REMITTING = (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)
LEFT = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
ERRORS = {6: 0.0764, 7: 0.0869, 10: 0.0963, 13: 0.1068, 16: 0.1141, 22: 0.1282, 23: 0.1346}

# Months after a transplant, with 1 for death by it, 2 for relapse, 0 for neither: Scrucca, Santucci and
# Aversa, Bone Marrow Transplantation 40 (2007), 381-387. The estimates are those that scikit-survival prints.
TRANSPLANTS = (
    (13, 2), (1, 1), (72, 0), (7, 2), (8, 2), (67, 0), (9, 2), (5, 2), (70, 0), (4, 0), (7, 0), (68, 0),
    (1, 2), (10, 2), (7, 2), (3, 1), (4, 1), (4, 1), (3, 1), (3, 1), (22, 2), (8, 1), (2, 2), (0, 2),
    (0, 1), (35, 0), (35, 0), (4, 2), (14, 2), (26, 2), (3, 2), (2, 0), (8, 0), (32, 0), (12, 1),
)  # fmt: skip
DIED = (0.0286, 0.0571, 0.0571, 0.1458, 0.2049)
DIED_OR_RELAPSED = (0.0571, 0.1143, 0.1429, 0.2611, 0.3498)

outcomes = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from((0, 1, 2))), min_size=1, max_size=60
)


def estimated(rows: Sequence[tuple[int, int]], way: int = 1) -> tuple[list[int], Incidence]:
    times = sorted({time for time, _ in rows})
    asked, other, lost = (
        [sum(time == at and ended == sort for time, ended in rows) for at in times]
        for sort in (way, 3 - way, 0)
    )
    return times, incidence(asked, other, lost)


def test_kaplan_and_meiers_estimate_is_the_published_one():
    rows = [(week, 1) for week in RELAPSED] + [(week, 0) for week in REMITTING]

    weeks, its = estimated(rows)

    at = dict(zip(weeks, range(len(weeks)), strict=True))
    assert [its.left[at[week]] for week in LEFT] == pytest.approx([*LEFT.values()], abs=0.0006)
    assert [its.error[at[week]] for week in ERRORS] == pytest.approx(
        [*ERRORS.values()], abs=0.00006
    )
    assert [its.at_risk[at[week]] for week in LEFT] == [21, 17, 15, 12, 11, 7, 6]


def test_aalen_and_johansens_estimate_is_the_published_one():
    months, died = estimated(TRANSPLANTS)
    _, relapsed = estimated(TRANSPLANTS, way=2)

    assert months[:5] == [0, 1, 2, 3, 4]
    assert died.share[:5] == pytest.approx(DIED, abs=0.00006)
    assert (died.share + relapsed.share)[:5] == pytest.approx(DIED_OR_RELAPSED, abs=0.00006)


@given(outcomes)
def test_what_ended_in_either_way_and_what_is_left_are_all(rows):
    _, one = estimated(rows)
    _, other = estimated(rows, way=2)

    assert one.share + other.share + one.left == pytest.approx(1)
    assert (np.diff(one.share) >= 0).all()


@given(outcomes)
def test_the_share_is_in_its_band_and_the_band_between_none_and_all(rows):
    _, its = estimated(rows)

    assert (its.low >= 0).all()
    assert (its.low <= its.share + 1e-12).all()
    assert (its.share <= its.high + 1e-12).all()
    assert (its.high <= 1).all()


@given(outcomes)
def test_with_one_way_to_end_the_error_is_greenwoods(rows):
    _, its = estimated([(time, min(ended, 1)) for time, ended in rows])

    gone = its.at_risk * (1 - its.left / np.concatenate([[1], its.left[:-1]]).clip(1e-300))
    remain = (its.at_risk - gone).round(6)
    terms = np.divide(gone, its.at_risk * remain, out=np.zeros_like(gone), where=remain > 0)
    expected = its.left * np.sqrt(terms.cumsum())
    assert its.error == pytest.approx(expected, abs=1e-6)


def test_where_all_are_watched_to_their_end_the_share_is_the_fraction():
    _, its = estimated([(1, 1), (2, 1), (3, 2), (4, 1)])

    assert its.share.tolist() == pytest.approx([0.25, 0.5, 0.5, 0.75])


def test_nothing_is_estimated_of_no_rows():
    its = incidence([], [], [])

    assert its.share.tolist() == []
