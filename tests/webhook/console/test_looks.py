"""Every page in a real browser: nothing it complains of, no fault that axe finds, and no great weight."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Addresses, forget
from tests.webhook.console import browsing, screenshots
from tests.webhook.console.browsing import sign_in, watch
from tests.webhook.console.people import make_user
from tests.webhook.console.test_pages import PAGES
from tests.webhook.serving import serving
from webhook.console.help import GUIDES
from worker.tenancy.actors import Role

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
HEAVIEST = 100_000  # bytes of a page as it is sent to a browser that has nothing yet
FRAGMENTS = ("/pools/new/words", "/courses/choose", "progress")  # parts of pages, for htmx
FILES = (
    ".csv",
    ".pdf",
    ".html",
    ".png",
    ".svg",
    ".zip",
)  # a report runs no script, so not axe either
WHOLE = [page for page in PAGES if not page.partition("?")[0].endswith((*FRAGMENTS, *FILES))]
# More than a path tells: pages as they are after an error, a search, or an answer.
MORE = ["/trouble?q={code}&as=new@example.com", "/trouble?q=no-such-key", "/pools/0"]
MORE += [f"/help/{guide}" for guide in GUIDES]
# A server that sends mail has a link to a form at its door; where others reach it, an operator needs more
# than a password to come in.
MAIL = {
    "KEYPOOL_SMTP_URL": "smtp://127.0.0.1:9",
    "KEYPOOL_MAIL_FROM": "keys@example.com",
    "KEYPOOL_PUBLIC_URL": "http://127.0.0.1:8080",
}


@pytest.fixture(scope="module")
def url(database: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(database, tmp_path_factory.mktemp("web")) as running:
        yield running.url


@pytest.fixture(scope="module")
def door(database: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(database, tmp_path_factory.mktemp("door"), **MAIL) as running:
        yield running.url


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    return []


@pytest.fixture(scope="module")
def page(browser: Browser, url: str, place, complaints: list[str]) -> Iterator[Page]:
    """The operator's tab, who may open every page."""
    context = browser.new_context(base_url=url, reduced_motion="reduce", bypass_csp=False)
    yield sign_in(watch(context.new_page(), complaints), make_user(Role.OPERATOR, None))
    context.close()


def faults(page: Page) -> list[str]:
    """Ask axe for a page's faults in each colour scheme, with the elements that have them."""
    page.evaluate(AXE)
    return [
        f"{scheme}: {fault['id']}: {fault['help']}: "
        f"{[node['html'][:120] for node in fault['nodes'][:3]]}"
        for scheme in ("light", "dark")
        for fault in violations(page, scheme)
    ]


def weight(page: Page) -> int:
    """Sum what a page and all that it loaded were sent as, in bytes; what was kept counts as well."""
    sent: int = page.evaluate("""() => [
        ...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource"),
    ].reduce((sum, one) => sum + one.encodedBodySize, 0)""")
    return sent


def violations(page: Page, scheme: Literal["light", "dark"]) -> list[dict[str, Any]]:
    """Ask axe what it finds on a page that has it aboard, in one colour scheme."""
    page.emulate_media(color_scheme=scheme)
    found: list[dict[str, Any]] = page.evaluate("axe.run({resultTypes: ['violations']})")[
        "violations"
    ]
    return found


@pytest.mark.parametrize("path", WHOLE + MORE)
def test_axe_finds_no_fault_and_the_page_is_light(page, things, path, complaints):
    complaints.clear()
    address = f"/console{path.format(**things.ids)}"
    page.goto(address)

    assert unquote(page.url).endswith(address)
    assert weight(page) < HEAVIEST
    assert faults(page) == []
    assert complaints == []


def test_who_forgot_their_password_asks_for_a_link_by_keyboard(browser, door):
    context = browser.new_context(base_url=door, reduced_motion="reduce")
    tab = context.new_page()
    tab.goto("/console/sign-in")
    assert faults(tab) == []
    tab.get_by_role("link", name="Forgot your password?").focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_label("E-mail address")).to_be_focused()
    assert faults(tab) == []

    tab.keyboard.type("nobody@example.com")
    tab.keyboard.press("Enter")

    expect(tab.get_by_role("status")).to_contain_text("a link is on its way")
    assert faults(tab) == []
    context.close()


@pytest.mark.parametrize(
    "path", ["/pools/new", "/pools/{pool}", "/assignments/{assignment}", "/users"]
)
def test_axe_finds_no_fault_in_an_open_dialog(page, things, path):
    page.goto(f"/console{path.format(**things.ids)}")
    for opener in page.locator("button[command=show-modal]").all():
        if not opener.is_visible():
            continue
        opener.click()
        dialog = page.locator("dialog[open]")
        expect(dialog).to_be_visible()

        assert faults(page) == []
        dialog.get_by_role("button").filter(has_text="Close").or_(
            dialog.get_by_role("button", name="OK")
        ).first.click()


def test_a_page_that_broke_the_rules_would_be_noticed(page, complaints):
    page.goto("/console/pools")
    complaints.clear()

    page.evaluate("""() => { const script = document.createElement("script");
        script.textContent = "1"; document.body.append(script);
        document.body.innerHTML += "<input>" }""")

    assert "label" in " ".join(faults(page))
    assert any("Content Security Policy" in complaint for complaint in complaints)


def test_a_page_that_nobody_can_read_in_the_dark_would_be_noticed(page):
    page.goto("/console/pools")

    page.evaluate("""() => { const sheet = new CSSStyleSheet();
        sheet.replaceSync(`@media (prefers-color-scheme: dark) {
            * { color: #111 !important; background: #000 !important } }`);
        document.adoptedStyleSheets = [sheet] }""")

    assert {fault.partition(": ")[0] for fault in faults(page)} == {"dark"}


def test_every_page_has_its_pictures():
    pictured = {bare(path) for _, path in screenshots.PAGES.values()}

    # What is asked about selected rows is pictured in the dialog that shows it.
    assert {bare(path) for path in WHOLE if "/selected/" not in path} - pictured == set()


def bare(path: str) -> str:
    return path.partition("?")[0].partition("#")[0]


def test_without_chromium_these_tests_are_skipped_and_fail_in_ci(tmp_path, monkeypatch):
    monkeypatch.setenv("KEYPOOL_CHROMIUM", str(tmp_path / "nowhere"))
    monkeypatch.delenv("CI", raising=False)
    forget()

    with pytest.raises(pytest.skip.Exception, match="not installed"), browsing.chromium():
        pass
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="not installed"), browsing.chromium():
        pass
    forget()
