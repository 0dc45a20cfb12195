"""Lists in the console: what is filtered, sorted and shown stands in the address."""

import re
from html import unescape

import pytest

from tests.world import OPERATOR
from worker.catalogue import courses
from worker.database import connections
from worker.tenancy.actors import Role


@pytest.fixture(scope="module", autouse=True)
def taught(place) -> None:
    with connections.session() as session:
        for code in ("listed-b", "LISTED-A", "LISTED-C"):
            given = {"title": "Of a list", "price": "1", "currency": "EUR"}
            courses.add(session, actor=OPERATOR, code=code, **given)


def codes(page: str) -> list[str]:
    return re.findall(r"/console/courses/\d+\">(listed-\w)<", page, re.IGNORECASE)


def test_a_filter_in_force_is_a_chip_that_leads_to_the_list_without_it(somebody):
    manager = somebody()

    page = manager.get("/courses?search=listed+OF&sort=-code").text
    [(without, label)] = re.findall(r'<li><a href="/console([^"]+)" aria-label="([^"]+)"', page)
    plain = manager.get(unescape(without)).text

    assert label == "Without Search listed OF"
    assert unescape(without) == "/courses?sort=-code"
    assert 'aria-label="Filters in force"' not in plain
    assert codes(page) == ["LISTED-C", "listed-b", "LISTED-A"]


def test_a_head_sorts_and_turns_round_and_keeps_the_filters(somebody):
    manager = somebody()
    address = re.compile(r'<th scope="col"([^>]*)><a href="/console([^"]+)">Code</a>')

    plain, first = address.search(manager.get("/courses?search=listed").text).groups()
    page = manager.get(unescape(first)).text
    ordered, second = address.search(page).groups()
    turned = manager.get(unescape(second)).text

    assert (plain, ordered) == ("", ' aria-sort="ascending"')
    assert unescape(first) == "/courses?search=listed&sort=code"
    assert codes(page) == ["LISTED-A", "listed-b", "LISTED-C"]
    assert codes(turned) == codes(page)[::-1]
    assert 'name="sort" value="-code"' in turned  # another filter keeps the order


@pytest.mark.parametrize(
    ("path", "heads"),
    [("/pools", ["name", "expires_at"]), ("/courses", ["code"]), ("/invoices", ["month", "total"])],
)
def test_every_head_that_sorts_has_an_order_of_the_list(somebody, things, path, heads):
    assert things.ids["invoice"]  # no list is empty
    operator = somebody(Role.OPERATOR)

    for sort in heads:
        page = operator.get(f"{path}?sort=-{sort}").text
        assert f'aria-sort="descending"><a href="/console{path}?sort={sort}"' in page
    assert operator.get(f"{path}?sort=colour").status_code == 422
