"""Lists in the console: what is filtered, sorted and shown stands in the address."""

import re
from html import unescape

import pytest
from sqlalchemy import text

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


WHOLE = {  # what a page lists, and a row's name
    "organizations": ("INSERT INTO organization (name, parent_id) SELECT 'Paged ' || n, :parent"
                      " FROM generate_series(10, 70) AS n", "Paged"),
    "users": ("INSERT INTO console_user (organization_id, email, role) SELECT :parent,"
              " 'paged' || n || '@lists.example', 'analyst' FROM generate_series(10, 70) AS n", "paged"),
    "tokens": ("INSERT INTO token (organization_id, name, role, hash) SELECT :parent, 'Paged ' || n, 'finance',"
               " sha256(n::text::bytea) FROM generate_series(10, 70) AS n", "Paged"),
    "sources": ("INSERT INTO source (organization_id, name) SELECT :parent, 'Paged ' || n"
                " FROM generate_series(10, 70) AS n", "Paged"),
    "endpoints": ("INSERT INTO endpoint (organization_id, url, types) SELECT :parent,"
                  " 'https://paged' || n || '.lists.example', '{pool.low}'"
                  " FROM generate_series(10, 70) AS n", "https://paged"),
    "templates": ("INSERT INTO mail_template (organization_id, name, subject, body) SELECT :parent,"
                  " 'Paged ' || n, 'Keys', '-' FROM generate_series(10, 70) AS n", "Paged"),
}  # fmt: skip


def paths(page: str, label: str) -> str:
    [found] = re.findall(rf'<a href="/console([^"]+)"[^>]*>{label}</a>', page)
    return unescape(found)


@pytest.fixture(scope="module")
def many(place) -> None:
    """61 rows of each."""
    with connections.session() as session:
        for statement, _ in WHOLE.values():
            session.execute(text(statement), {"parent": place.world.parent})


@pytest.mark.parametrize("noun", WHOLE)
def test_every_list_has_pages_forward_and_back_a_total_and_a_search(noun, somebody, many):
    name, operator = WHOLE[noun][1], somebody(Role.OPERATOR)
    rows = re.compile(rf'<th scope="row">(?:<a [^>]*>)?({name} ?[0-9]+)')

    first = operator.get(f"/{noun}?search={name[-5:]}").text
    second = operator.get(paths(first, "Next page")).text
    again = operator.get(paths(second, "Previous page")).text
    pieces = operator.get(f"/{noun}?search=42+{name[-5:].upper()}").text

    assert [len(rows.findall(page)) for page in (first, second)] == [50, 11]
    assert rows.findall(again) == rows.findall(first)
    assert len({*rows.findall(first), *rows.findall(second)}) == 61
    assert ("61 in all" in first, "61 in all" in second) == (True, True)
    assert len(rows.findall(pieces)) == 1
    assert 'type="search" value="42 ' in pieces
    assert "Previous page" not in first
    assert "Next page" not in second


def test_a_list_that_is_filtered_or_sorted_anew_begins_at_its_first_page(somebody, many):
    operator = somebody(Role.OPERATOR)
    page = operator.get("/tokens?search=paged").text
    second = operator.get(paths(page, "Next page")).text

    turned = unescape(re.search(r'<th scope="col"><a href="/console([^"]+)">Name', second)[1])
    [without] = re.findall(r'<li><a href="/console([^"]+)" aria-label="Without', second)

    assert turned == "/tokens?search=paged&sort=name"
    assert unescape(without) == "/tokens"
