"""Help opens the guides, at the part that tells of a page; none of its links is dead."""

import re

import pytest

from webhook.console import help as guides
from webhook.console.words import HELP
from worker.tenancy.actors import Role

ANCHOR = re.compile(r'id="([^"]+)"')
LINK = re.compile(r'(?:href|src)="(/console/help/[^"]*|#[^"]*)"')


@pytest.fixture(scope="module")
def pages(somebody) -> dict[str, str]:
    """Every guide as somebody of the fewest rights sees it, by address."""
    reader = somebody(Role.SENDER)
    shown = {f"/console/help/{name}": reader.get(f"/help/{name}") for name in guides.GUIDES}
    assert {answer.status_code for answer in shown.values()} == {200}
    return {address: answer.text for address, answer in shown.items()}


def test_every_guide_of_the_docs_is_a_page_with_its_title_and_listed(pages, somebody):
    listed = somebody(Role.SENDER).get("/help").text

    assert {path.stem for path in guides.FOLDER.glob("*.md")} == set(guides.GUIDES)
    for address in pages:
        guide = guides.read(address.rpartition("/")[2])
        assert f'href="{address}">{guide.title}</a>' in listed.replace("&amp;", "&")
        assert len(guide.first) > 20, address
        assert not set(guide.first) & set("`*]"), address


def test_no_link_and_no_picture_of_a_guide_leads_nowhere(pages, somebody):
    reader = somebody(Role.SENDER)
    anchors = {address: set(ANCHOR.findall(text)) for address, text in pages.items()}

    for address, text in pages.items():
        for target in LINK.findall(text):
            where, _, part = target.partition("#")
            where = where or address
            if where.startswith("/console/help/images/"):
                assert reader.get(where.removeprefix("/console")).status_code == 200, (
                    address,
                    target,
                )
            else:
                assert where in pages, (address, target)
                assert not part or part in anchors[where], (address, target)


def test_help_of_every_page_leads_to_a_part_that_is_there(pages):
    for place, target in HELP.items():
        guide, _, part = target.partition("#")
        assert not part or f'id="{part}"' in pages[f"/console/help/{guide}"], place


@pytest.mark.parametrize(
    ("page", "leads"),
    [
        ("/pools", "/console/help/keys"),
        ("/pools/new", "/console/help/keys#adding-keys"),
        ("/endpoints", "/console/help/webhooks#being-told-by-keypool"),
        ("/courses", "/console/help/console#which-page-for-whom"),
    ],
)
def test_help_leads_to_what_tells_of_the_page(somebody, page, leads):
    assert f'href="{leads}">Help</a>' in somebody().get(page).text


@pytest.mark.parametrize("path", ["nothing", "images/nothing.png", "images/../../schema.sql"])
def test_what_is_no_guide_is_not_found(somebody, path):
    assert somebody().get(f"/help/{path}").status_code == 404
