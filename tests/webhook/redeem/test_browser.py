"""The pages in a real browser: by keyboard, by screen reader, on a small phone, with and without scripts."""

import io
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Addresses
from tests.smtpd import MailServer
from tests.webhook.console.browsing import chromium, watch
from tests.webhook.redeem.conftest import edit, sql
from tests.webhook.serving import serving
from worker.outgoing import mailing

AXE = (Path(__file__).parents[1] / "console" / "axe" / "axe.min.js").read_text()
SERIOUS = ("serious", "critical")
PHONE = {"width": 320, "height": 568}


@pytest.fixture(scope="module")
def browser(server: MailServer) -> Iterator[Browser]:
    del server  # which starts its loop before the browser's runs
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def url(
    database: Addresses, server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with serving(database, tmp_path_factory.mktemp("web")) as running:
        yield running.url


@pytest.fixture
def tab(browser: Browser, url: str) -> Iterator[Callable[..., Page]]:
    """Open a tab; the test fails where a page made the browser complain."""
    complaints: list[str] = []
    contexts = []

    def opened(**context: object) -> Page:
        contexts.append(browser.new_context(base_url=url, **context))
        return watch(contexts[-1].new_page(), complaints)

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def code(server: MailServer) -> Callable[[str], str]:
    """Read the code that was mailed to somebody."""

    def read(email: str) -> str:
        mailing.send_all(until=time.monotonic() + 60)
        mine = [mail for mail in server.received if mail.recipient == email]
        return re.findall(r"(?<!\d)\d{6}(?!\d)", mine[-1].text)[0]

    return read


def faults(page: Page) -> list[str]:
    """Ask axe for a page's serious faults."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [f"{one['id']}: {one['help']}" for one in found if one["impact"] in SERIOUS]


def too_wide(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_on_any_page_and_none_is_too_wide_for_a_small_phone(
    place, tab, slug, labs, code, scheme
):
    email = f"ada-{scheme}@example.org"
    page = tab(color_scheme=scheme, viewport=PHONE, locale="de-DE")
    [key] = place.keys()
    found: dict[str, tuple[list[str], bool]] = {}

    def look(name: str) -> None:
        found[name] = faults(page), too_wide(page)

    page.goto(f"/redeem/{slug}")
    look("form")
    page.get_by_label("Schlüssel").fill("x" * 257)
    page.locator("form").evaluate("form => { form.noValidate = true }")
    page.get_by_role("button", name="Weiter").click()
    expect(page.get_by_role("alert")).to_be_visible()
    look("form with what is missing")
    page.get_by_label("Schlüssel").fill(key)
    page.get_by_label("E-Mail").fill(email)
    page.get_by_role("button", name="Weiter").click()
    expect(page.get_by_role("heading", name="Code eingeben")).to_be_visible()
    look("code")
    page.get_by_label("Code").fill("000")
    page.get_by_role("button", name="Weiter").click()
    expect(page.get_by_role("alert")).to_contain_text("nicht der Code")
    look("code that is wrong")
    page.get_by_label("Code").fill(code(email))
    page.get_by_role("button", name="Weiter").click()
    expect(page.get_by_role("status")).to_contain_text("Der Schlüssel ist eingelöst. Der Zugang")
    look("answer")
    page.get_by_role("link", name="Ihre Kurse").click()
    expect(page.get_by_role("heading", name="Ihre Kurse")).to_be_visible()
    look("courses")
    page.get_by_label("Schlüssel").fill("UNKNOWN-KEY-1")
    page.get_by_role("button", name="Einlösen").click()
    expect(page.get_by_role("status")).to_contain_text("Diesen Schlüssel gibt es nicht")
    look("refusal")
    page.goto(f"/redeem/{slug}")
    expect(page.get_by_role("heading", name="Einen weiteren Schlüssel einlösen")).to_be_visible()
    look("another key")
    page.goto("/my")
    page.get_by_role("button", name="Abmelden").click()
    expect(page.get_by_role("heading", name="Sie sind abgemeldet")).to_be_visible()
    look("signed out")
    page.goto("/my")
    look("sign in")
    page.goto("/redeem")
    look("form of nobody's")
    page.goto("/redeem/colours/none.css")
    look("no such page")

    assert found == dict.fromkeys(found, ([], False))


def test_a_screen_reader_is_told_what_each_field_is_and_what_is_wrong_with_it(tab, slug):
    page = tab(locale="en-GB")
    page.goto(f"/redeem/{slug}")
    page.locator("form").evaluate("form => { form.noValidate = true }")
    page.get_by_label("Key").fill("SOME-KEY-1")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_be_visible()

    tree = page.locator("body").aria_snapshot()

    assert 'navigation "Language"' in tree
    assert 'heading "Redeem a key" [level=1]' in tree
    assert 'textbox "Key": SOME-KEY-1' in tree
    expect(page.get_by_label("Your e-mail address")).to_have_accessible_description(
        "We send a code there, to see that it is yours. "
        "Type your e-mail address, such as ann@example.com."
    )
    expect(page.get_by_label("Your e-mail address")).to_be_focused()
    expect(page).to_have_title(re.compile("^Redeem a key – Parent"))


def test_everything_is_done_by_keyboard_and_without_scripts(place, tab, slug, labs, code):
    page = tab(java_script_enabled=False, locale="en-GB")
    [key] = place.keys()
    page.goto(f"/redeem/{slug}")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for typed in (key, "bea@example.org", "Bea"):
        page.keyboard.type(typed)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Code of the mail")).to_be_focused()
    page.keyboard.type(code("bea@example.org"))
    page.keyboard.press("Enter")

    expect(page.get_by_role("status")).to_contain_text("The key is redeemed. Access ends")
    href = page.get_by_role("link", name="Open the course").get_attribute("href")
    assert href is not None
    assert href.startswith("https://labs.example/start?assignment=")


def test_a_key_behind_the_address_is_filled_in_and_no_server_sees_it(place, tab, slug, url):
    [key] = place.keys()
    page = tab(locale="en-GB")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url + str(request.headers)))

    page.goto(f"/redeem/{slug}#{key}")
    expect(page.get_by_label("Key")).to_have_value(key)
    page.get_by_role("link", name="Deutsch").click()
    expect(page.get_by_label("Schlüssel")).to_have_value(key)

    assert asked
    assert [one for one in asked if key in one] == []


def test_a_logo_is_shown_on_the_page(place, tab, slug):
    picture = io.BytesIO()
    Image.new("RGB", (480, 160), "navy").save(picture, "PNG")
    edit(place, logo=picture.getvalue())
    page = tab()

    page.goto(f"/redeem/{slug}")

    shown = page.get_by_role("img", name=re.compile("Parent"))
    assert shown.evaluate("image => image.complete && image.naturalWidth > 0")
    edit(place, logo=b"")
    assert sql("SELECT count(*) FROM organization_logo") == [(0,)]
