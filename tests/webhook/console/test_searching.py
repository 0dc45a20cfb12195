"""Search everywhere: what may be opened is found by pieces of its name, and nothing else is."""

import re

import pytest
from sqlalchemy import text

from tests.webhook.conftest import Place, redemption, settle
from webhook.console import searching
from worker.database import connections as databases
from worker.learning import matching
from worker.tenancy.actors import Role

INVOICED = """
    INSERT INTO invoice (organization_id, month, currency, status, year, serial, finalized_at, issued_on,
                         due_on, seller, buyer, subtotal, total)
    VALUES (:parent, '2026-01-01', 'EUR', 'finalized', 2026, 417, '2026-02-03', '2026-02-03', '2026-03-05',
            '{}', '{}', 10, 10)
"""


@pytest.fixture(scope="module")
def names(place: Place) -> dict[str, str]:
    """What there is to find in the place, by kind."""
    [key] = place.keys()
    place.sender().post(redemption(key, "Anna.Quast@school.example"))
    settle()
    with databases.session() as session:
        session.execute(text(INVOICED), {"parent": place.world.parent})
        found = session.execute(
            text("SELECT pool.name AS pool, course.code AS course, organization.name AS organization"
                 "  FROM pool JOIN course ON course.id = course_id"
                 "  JOIN organization ON organization.id = organization_id WHERE pool.id = :pool"),
            {"pool": int(place.world.pool)},
        ).one()  # fmt: skip
    tag = found.pool.removeprefix("Pool ")
    return {
        "Keys": key.lower().replace("-", " "),
        "Pools": f"{tag} pool",
        "Courses": f"{tag} course",
        "Learners": "school quast",
        "Invoices": "000417",
        "Organizations": f"{tag} parent",
        "Pages": "batch",
        "Acts": "give another",
    }


EVERYWHERE = {"Organizations", "Pages"}
SEEN = {
    Role.OPERATOR: {*EVERYWHERE, "Keys", "Pools", "Courses", "Learners", "Invoices", "Acts"},
    Role.MANAGER: {*EVERYWHERE, "Keys", "Pools", "Courses", "Learners", "Acts"},
    Role.ANALYST: {*EVERYWHERE, "Keys", "Pools", "Courses", "Learners", "Invoices"},
    Role.FINANCE: {"Organizations", "Invoices"},
    Role.SENDER: {"Organizations"},
}


def groups(page: str) -> dict[str, list[str]]:
    """Give what the page of the search found, by kind, as addresses."""
    sections = re.findall(r"<section><h2>(.*?)</h2>(.*?)</section>", page, re.S)
    return {kind: re.findall(r'href="([^"]+)"', inside) for kind, inside in sections}


@pytest.mark.parametrize("role", SEEN)
def test_each_role_finds_what_it_may_open_and_opens_it(somebody, names, role):
    visitor, seen = somebody(role), set()

    for kind, asked in names.items():
        found = groups(visitor.get(f"/search?q={asked}").text).get(kind, [])
        seen |= {kind} if found else set()
        if kind == "Invoices":  # this one has no seller that its page could show
            assert found in ([], ["/console/invoices/2026-000417"])
        else:
            assert {visitor.client.get(address).status_code for address in found} <= {200}

    assert seen == SEEN[role]


def test_a_stranger_finds_of_others_what_there_is_not(somebody, place, names):
    stranger = somebody(Role.MANAGER, place.world.sibling)
    asked = [asked for kind, asked in names.items() if kind not in ("Courses", "Pages", "Acts")]

    answers = {stranger.get(f"/search?q={one}").text.replace(one, "…") for one in asked}
    nothing = stranger.get("/search?q=no such thing").text.replace("no such thing", "…")

    assert {visible(answer) for answer in answers} == {visible(nothing)}
    assert "Nothing fits." in nothing


def visible(page: str) -> str:
    """Give a page's main part without what every page has anew, such as its token."""
    return page.partition("<main")[2].partition("</main>")[0]


def test_htmx_gets_options_alone_and_one_letter_finds_nothing(somebody, names):
    part = somebody().client.get(
        f"/console/search?q={names['Pools']}", headers={"HX-Request": "true"}
    ).text  # fmt: skip

    assert "<html" not in part
    assert part.count('role="option"') == 1
    assert "Type a piece" in somebody().get("/search?q=p").text


def test_a_piece_is_looked_for_among_the_latest_learners_and_a_whole_address_among_all(
    somebody, names, place, monkeypatch
):
    place.sender().post(redemption(place.keys()[0], "later@school.example"))
    settle()
    monkeypatch.setattr(matching, "LATEST", 1)

    found = {
        asked: groups(somebody().get(f"/search?q={asked}").text).get("Learners")
        for asked in ("quast", "anna.quast@school.example", "later")
    }

    assert [bool(addresses) for addresses in found.values()] == [False, True, True]


def test_every_act_that_is_offered_is_one_of_the_console(app):
    views = {name.removeprefix("console.") for name in app.view_functions}

    assert {name for _, *both in searching.ACTS for name in both} <= views
