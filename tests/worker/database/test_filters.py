"""What a list can be asked for, as every door reads it from the noun's own object."""

from dataclasses import FrozenInstanceError, dataclass
from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from worker.database.filters import ListFilters, by, criteria, orders
from worker.tables.labels import KeyState
from worker.tables.pools import Pool


@dataclass(frozen=True)
class Filters(ListFilters):
    sorts: ClassVar = {"name": Pool.name}

    state: KeyState | None = by("Those that are so.")
    handed: bool = by("Those that somebody has.", default=False)
    billed: bool | None = by("On an invoice.", otherwise="unbilled")
    since: datetime | None = by("From then on.")
    within: timedelta | None = by("So soon.")
    reference: str | None = by("Under this.", longest=320)


def test_each_filter_tells_its_name_its_type_and_its_words_in_the_order_of_the_class():
    told = [(one.name, one.kind, one.default, one.words) for one in criteria(Filters)]

    assert told == [
        ("state", KeyState, None, "Those that are so."),
        ("handed", bool, False, "Those that somebody has."),
        ("billed", bool, None, "On an invoice."),
        ("since", datetime, None, "From then on."),
        ("within", timedelta, None, "So soon."),
        ("reference", str, None, "Under this."),
    ]
    assert [one.longest for one in criteria(Filters)] == [200] * 5 + [320]
    assert [one.otherwise for one in criteria(Filters) if one.otherwise] == ["unbilled"]


def test_a_list_is_sorted_by_its_own_order_and_by_what_it_has_an_index_for_both_ways():
    assert orders(Filters) == ["made", "-made", "name", "-name"]
    assert orders(ListFilters) == ["made", "-made"]


def test_filters_are_frozen_and_choose_nothing_by_default():
    wanted = Filters()

    assert wanted == Filters(state=None, handed=False)
    with pytest.raises(FrozenInstanceError):
        wanted.state = KeyState.ISSUED  # type: ignore[misc]
