"""Pages of a list: forward, back, and how many rows there are in all."""

import pytest

from tests.world import OPERATOR
from worker import errors
from worker.catalogue import courses
from worker.database.paging import Page, Turned

CODES = [f"PAGED-{letter}" for letter in "EBADCGF"]


@pytest.fixture
def taught(session):
    for code in CODES:
        given = {"title": "Of a list", "price": "1", "currency": "EUR"}
        courses.add(session, actor=OPERATOR, code=code, **given)
    return session


def page(session, **wanted):
    filters = courses.Filters(search="paged-")
    listed = courses.listing(session, filters=filters, limit=3, counted=5, **wanted)
    assert isinstance(listed, Turned)
    return listed


def codes(listed: Page[courses.CourseShape]) -> list[str]:
    return [item["code"] for item in listed.items]


@pytest.mark.parametrize("sort", ["code", "-code", "made", "-made"])
def test_a_list_is_turned_back_page_by_page(taught, sort):
    forward = [page(taught, sort=sort)]
    while forward[-1].next:
        forward.append(page(taught, sort=sort, after=forward[-1].next))
    back = [forward[-1]]
    while back[-1].previous:
        back.append(page(taught, sort=sort, before=back[-1].previous))

    made = CODES if "made" in sort else sorted(CODES)
    walked = [code for listed in forward for code in codes(listed)]
    assert walked == made[:: -1 if sort.startswith("-") else 1]
    assert [codes(listed) for listed in back] == [codes(listed) for listed in forward[::-1]]
    assert [listed.next for listed in back] == [listed.next for listed in forward[::-1]]
    assert forward[0].previous is None


def test_rows_are_counted_up_to_a_limit_on_every_page(taught):
    first = page(taught)
    second = page(taught, after=first.next)
    few = courses.listing(taught, filters=courses.Filters(search="paged-a"), counted=5)

    assert (first.total, second.total, first.most) == (6, 6, 5)  # of 7: more than 5
    assert (few.total, few.previous, few.next) == (1, None, None)


def test_a_page_that_is_not_counted_is_as_it_was(taught):
    listed = courses.listing(taught, filters=courses.Filters(search="paged-"), limit=3)

    assert type(listed) is Page


def test_a_cursor_of_another_order_is_refused_backward_too(taught):
    cursor = page(taught, sort="code").next

    with pytest.raises(errors.InvalidInputError, match="cursor"):
        page(taught, sort="made", before=cursor)
