"""People who sign in, and what they see: the pages through the app's own client."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import unescape

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.webhook.conftest import Place
from tests.world import OPERATOR
from webhook import create_app
from worker import database as databases
from worker import users
from worker.actors import Role

PASSWORD = "correct horse battery"


@dataclass
class Person:
    """Somebody at a browser that runs no script."""

    client: FlaskClient
    email: str

    def get(self, path: str) -> TestResponse:
        return self.client.get(f"/console{path}")

    def post(self, path: str, *, page: str | None = None, **fields: object) -> TestResponse:
        """Fill in the form of a page and send it, with that page's token."""
        shown = self.get(page or path).text
        token = re.search(r'name="csrf_token" value="([^"]+)"', shown)
        form = {"csrf_token": unescape(token[1]) if token else "", **fields}
        referrer = {"Referer": f"http://localhost/console{page or path}"}
        return self.client.post(f"/console{path}", data=form, headers=referrer)

    def sign_in(self, password: str = PASSWORD, **query: str) -> TestResponse:
        where = "/sign-in?" + "&".join(f"{k}={v}" for k, v in query.items())
        return self.post(where, email=self.email, password=password)


def make_user(role: Role, organization: int | None) -> str:
    email = f"{role}-{secrets.token_hex(4)}@example.com"
    owner = None if role is Role.OPERATOR else str(organization)
    with databases.session() as session:
        given = {"email": email, "password": PASSWORD, "organization": owner}
        users.add(session, actor=OPERATOR, role=role, **given)
    return email


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
