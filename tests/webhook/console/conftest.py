"""People who sign in, and what they see: through the app's own client, or in a real browser."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from html import unescape
from urllib.parse import unquote, urlsplit

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, StorageState, expect
from werkzeug.test import TestResponse

from tests.webhook.conftest import Place
from tests.webhook.console.browsing import House, chromium, running, sign_in, watch
from tests.webhook.console.people import PASSWORD, make_user
from webhook import create_app
from worker.tenancy.actors import Role

SIGN_IN = re.compile("/sign-in")


@dataclass
class Person:
    """Somebody at a browser that runs no script."""

    client: FlaskClient
    email: str

    def get(self, path: str) -> TestResponse:
        return self.client.get(f"/console{path}")

    def post(self, path: str, *, page: str | None = None, **fields: object) -> TestResponse:
        """Fill in the form of a page and send it, with that page's token, to where the form says.

        Where the page has no form for that act, it is asked for all the same.
        """
        shown = self.get(page or path).text
        token = re.search(r'name="csrf_token" value="([^"]+)"', shown)
        form = {"csrf_token": unescape(token[1]) if token else "", **fields}
        acts = [unescape(act) for act in re.findall(r'method="post" action="([^"]+)"', shown)]
        asked = [act for act in acts if unquote(urlsplit(act).path) == f"/console{path}"]
        return self.client.post(asked[0] if asked else f"/console{path}", data=form)

    def sign_in(self, password: str = PASSWORD, **query: str) -> TestResponse:
        where = "/sign-in?" + "&".join(f"{k}={v}" for k, v in query.items())
        return self.post(where, email=self.email, password=password)


@pytest.fixture(scope="module")
def app(place: Place) -> APIFlask:
    """An app of the people's own: the senders' client keeps its requests' context open."""
    return create_app()


@pytest.fixture
def person(place: Place, app: APIFlask) -> Callable[..., Person]:
    """Make somebody of a role, signed in unless told otherwise."""

    def make(role: Role = Role.MANAGER, *, signed_in: bool = True) -> Person:
        made = Person(app.test_client(), make_user(role, place.world.parent))
        if signed_in:
            assert made.sign_in().status_code == 303
        return made

    return make


@pytest.fixture(scope="module")
def somebody(place: Place, app: APIFlask) -> Callable[..., Person]:
    """Give the module's person of a role in an organization, the parent unless told otherwise."""

    @cache
    def known(role: Role = Role.MANAGER, organization: int | None = None) -> Person:
        email = make_user(role, organization or place.world.parent)
        made = Person(app.test_client(), email)
        assert made.sign_in().status_code == 303
        return made

    return known


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def house(browser: Browser) -> Iterator[House]:
    """A whole keypool that runs, for the module's tests."""
    with running(browser) as made:
        yield made


@pytest.fixture(scope="module")
def cookies(house: House) -> Callable[[Role], StorageState]:
    """Give the cookies of the module's person of a role, who signed in once."""

    @cache
    def signed_in(role: Role) -> StorageState:
        with house.browser.new_context(base_url=house.url) as context:
            expect(sign_in(context.new_page(), house.user(role))).not_to_have_url(SIGN_IN)
            return context.storage_state()

    return signed_in


@pytest.fixture
def tab(house: House, cookies: Callable[[Role], StorageState]) -> Iterator[Callable[..., Page]]:
    """Open somebody's tab, signed in; the test fails where a page made the browser complain.

    Who is named by an address signs in at the form, and everybody else did so before.
    """
    complaints: list[str] = []
    contexts = []

    def opened(role: Role = Role.MANAGER, *, email: str | None = None, script: bool = True) -> Page:
        known = {} if email else {"storage_state": cookies(role)}
        browsing = {"base_url": house.url, "java_script_enabled": script}
        contexts.append(house.browser.new_context(**browsing, **known))
        page = watch(contexts[-1].new_page(), complaints)
        if email:
            return sign_in(page, email)
        page.goto("/console/")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
