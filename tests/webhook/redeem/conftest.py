"""Learners at a redeem page, with a real mail server; the worker's part is done when a test says so."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from tests.conftest import Addresses
from tests.smtpd import MailServer, mail_server
from tests.webhook.conftest import Place, settle
from tests.world import OPERATOR, World
from webhook import create_app
from worker.catalogue import courses
from worker.database import connections as databases
from worker.outgoing import mailing
from worker.settings import settings
from worker.tenancy import organizations

LABS = "https://labs.example/start"


@pytest.fixture(scope="module")
def server(database: Addresses) -> Iterator[MailServer]:
    """The module's mail server, which takes everything; the limits are those of a school."""
    with mail_server() as running, pytest.MonkeyPatch.context() as patched:
        patched.setenv("KEYPOOL_SMTP_URL", running.url)
        patched.setenv("KEYPOOL_MAIL_FROM", "keys@keypool.example")
        patched.setenv("KEYPOOL_CODES_PER_CLIENT", "1000")
        settings.cache_clear()
        yield running
    settings.cache_clear()


@pytest.fixture(scope="module")
def app(place: Place, server: MailServer) -> APIFlask:
    return create_app()


@dataclass
class Learner:
    """Somebody at a browser that runs no script: sends what a page's form has, and follows."""

    client: FlaskClient
    server: MailServer
    email: str

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.client.get(path, headers=headers, follow_redirects=True)

    def send(self, page: TestResponse, **typed: str) -> TestResponse:
        """Fill in a page's first form and send it to where it says."""
        form = re.search(r'<form method="post" action="([^"]+)".*?</form>', page.text, re.S)
        assert form, page.text
        fields = dict(re.findall(r'name="(\w+)"(?: value="([^"]*)")?', form[0])) | typed
        return self.client.post(
            unescape(form[1]), data={k: unescape(v) for k, v in fields.items()},
            follow_redirects=True,
        )  # fmt: skip

    def code(self) -> str:
        """Read the code of the latest mail."""
        mailing.send_all(until=time.monotonic() + 60)
        mine = [mail for mail in self.server.received if mail.recipient == self.email]
        [code] = re.findall(r"(?<!\d)\d{6}(?!\d)", mine[-1].text)
        return code

    def proves(self, path: str, key: str, **typed: str) -> TestResponse:
        """Redeem a key with the code of the mail; gives the answer."""
        asked = self.send(self.get(path), key=key, email=self.email, **typed)
        return self.send(asked, code=self.code())


@pytest.fixture
def learner(app: APIFlask, server: MailServer) -> Callable[..., Learner]:
    """Make a learner with a browser of their own."""

    def make(email: str) -> Learner:
        return Learner(app.test_client(), server, email)

    return make


@pytest.fixture(autouse=True)
def settler(request: pytest.FixtureRequest, place: Place) -> Iterator[None]:
    """Settle what comes in, as the worker does; not in tests that are marked so."""
    if request.node.get_closest_marker("usefixtures") and "nobody_settles" in str(
        request.node.get_closest_marker("usefixtures")
    ):
        yield
        return
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            settle()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture
def nobody_settles() -> None:
    """For tests in which the worker is away."""


def edit(place: Place, organization: int | None = None, **changes: Any) -> str:
    """Change an organization and give its slug."""
    with databases.session() as session:
        owner = str(organization or place.world.parent)
        organizations.edit(session, actor=OPERATOR, organization=owner, **changes)
        return session.scalars(
            text("SELECT slug FROM organization WHERE id = :id"), {"id": int(owner)}
        ).one()


@pytest.fixture
def slug(place: Place) -> str:
    """The parent's page, with proof."""
    return edit(
        place, redeem_page="proof", redeem_domains=[], redeem_languages=[], locale="en",
        time_zone="Europe/Berlin", colour="#0b5fa5", support_email="help@parent.example",
        redeem_text="For staff of the parent.",
    )  # fmt: skip


@pytest.fixture
def off(place: Place) -> str:
    """The stranger's slug, whose page is off."""
    return edit(place, place.world.sibling, redeem_page="off")


@pytest.fixture
def labs(place: Place) -> str:
    """Give the course a launch URL, and its secret."""
    with databases.session() as session:
        course = session.scalars(
            text("SELECT course_id FROM pool WHERE id = :id"), {"id": int(place.world.pool)}
        ).one()
        made = courses.edit(
            session, actor=OPERATOR, course=str(course), launch_url=LABS, new_launch_secret=True
        )
        return made["launch_secret"]


def other_world(place: Place) -> World:
    return place.world


def sql(statement: str, **given: Any) -> list[Any]:
    with databases.session() as session:
        done = session.execute(text(statement), given)
        return list(done) if done.returns_rows else []
