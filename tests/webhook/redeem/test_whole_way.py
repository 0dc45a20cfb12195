"""The whole way in a real browser: a pool, a key by mail, its redemption, the course, the month's invoice."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import COMPLETE_SELLER
from tests.smtpd import Mail, MailServer, mail_server
from tests.waiting import eventually
from tests.webhook.console.browsing import chromium, dialog, sign_in, watch
from tests.webhook.console.people import make_user
from tests.world import OPERATOR, World, build
from worker import signatures, tasks
from worker.catalogue import courses, launching
from worker.database import connections as databases
from worker.demo import scratch
from worker.machine import supervisor
from worker.simulation import clock
from worker.tenancy import organizations
from worker.tenancy.actors import Role

ANN = "ann@learner.example"
OFFICE = "office@school.example"


class Lab(http.server.BaseHTTPRequestHandler):
    """A course's own site: it notes with what it was opened."""

    opened: list[dict[str, list[str]]]

    def do_GET(self) -> None:  # http.server's name
        self.opened.append(parse_qs(urlsplit(self.path).query))
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href=data:,><h1>Welcome to the lab</h1>")

    def log_message(self, *_words: object) -> None: ...


@dataclass
class School:
    """An organization with a course, on a keypool that runs, with a mail server and a lab."""

    url: str
    world: World
    mails: MailServer
    lab: str
    secret: str = ""
    opened: list[dict[str, list[str]]] = field(default_factory=list)

    def mail(self, subject: str) -> Mail:
        """Wait for the mail with a subject."""
        assert eventually(lambda: self.came(subject)), subject
        return self.came(subject)[-1]

    def came(self, subject: str) -> list[Mail]:
        return [one for one in self.mails.received if subject in str(one.message["Subject"])]


@contextmanager
def lab() -> Iterator[tuple[str, list[dict[str, list[str]]]]]:
    """Run a course's site."""
    opened: list[dict[str, list[str]]] = []
    handler = type("Lab", (Lab,), {"opened": opened})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/start", opened
        server.shutdown()


@pytest.fixture(scope="module")
def school() -> Iterator[School]:
    port = scratch.free_port()
    url = f"http://127.0.0.1:{port}"
    with mail_server() as mails, lab() as (site, opened), scratch.system() as home:
        mailing = {
            "KEYPOOL_SMTP_URL": mails.url,
            "KEYPOOL_MAIL_FROM": "keys@keypool.example",
            "KEYPOOL_PUBLIC_URL": url,
        }
        with scratch.environment(mailing):
            with databases.session() as session:
                world = build(session, name="School")
                session.execute(COMPLETE_SELLER)
                organizations.edit(
                    session, actor=OPERATOR, organization="Parent School", slug="school",
                    redeem_page="proof", billing_email=OFFICE, country="DE", city="Bonn",
                    postcode="53111", street="Weg 2",
                )  # fmt: skip
                made = courses.edit(session, actor=OPERATOR, course="C-School", launch_url=site)
            services = supervisor.services(home, host="127.0.0.1", port=port, processes=1)
            with supervisor.supervised(services, logs=home / "log") as supervision:
                supervision.wait_until_ready()
                yield School(url, world, mails, site, made["launch_secret"], opened)


@pytest.fixture
def page(school: School) -> Iterator[Page]:
    """A tab; the test fails where a page made the browser complain."""
    complaints: list[str] = []
    with chromium() as browser, browser.new_context(base_url=school.url) as context:
        yield watch(context.new_page(), complaints)
    assert complaints == []


def test_a_key_goes_from_a_pool_by_mail_to_a_learner_who_opens_the_course_and_is_invoiced(
    school: School, page: Page
) -> None:
    sign_in(page, make_user(Role.MANAGER, school.world.parent))
    want_invoices_by_mail(page)
    create_pool(page, keys=3)
    send_a_key(page, ANN)

    link = re.search(r"http\S+#\S+", school.mail("Your key for A course").text)[0]
    redeem(page, school, link)
    page.get_by_role("link", name="Open the course").click()
    expect(page.get_by_role("heading", name="Welcome to the lab")).to_be_visible()
    with clock.later(timedelta(days=40)):
        tasks.bill()
        tasks.remind()
        # The worker, at its own time, may be looking for mails, too: one sender works at a time.
        assert eventually(lambda: tasks.mail() or school.came("Invoice "))

    invoice = school.mail("Invoice ")
    assert link.startswith(f"{school.url}/redeem/school#")
    assert is_signed(school)
    assert invoice.recipient == OFFICE
    assert "49.90" in invoice.text
    files = [part.get_filename() for part in invoice.message.iter_attachments()]
    assert any(name.endswith(".pdf") for name in files)


def want_invoices_by_mail(page: Page) -> None:
    page.goto("/console/reminders?organization=Parent School")
    page.get_by_label("An invoice or credit note is issued").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The reminders are saved.")).to_be_visible()


def create_pool(page: Page, *, keys: int) -> None:
    page.goto("/console/pools/new")
    values = {
        "Name": "Autumn",
        "Course": "C-School",
        "Starts": "2026-01-01",
        "Expires": "2090-12-31",
        "Content Availability (days)": "90",
    }
    for label, value in values.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("tab", name="Training Keys").click()
    generate = dialog(page, "Generate Training Keys", "Generate Training Keys")
    generate.get_by_label("How many").fill(str(keys))
    generate.get_by_role("button", name="OK").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text(f"Generate: {keys} of {keys} done")).to_be_visible()


def send_a_key(page: Page, address: str) -> None:
    handing = dialog(page, "Distribute", "Distribute keys")
    handing.get_by_label("Recipient (e-mail or name)").fill(address)
    handing.get_by_label("Send the recipient their keys by e-mail").check()
    handing.get_by_role("button", name="Distribute").click()


def redeem(page: Page, school: School, link: str) -> None:
    page.goto(link)
    expect(page.get_by_label("Key")).to_have_value(link.partition("#")[2])
    page.get_by_label("Your e-mail address").fill(ANN)
    page.get_by_role("button", name="Go on").click()
    [code] = re.findall(r"(?<!\d)\d{6}(?!\d)", school.mail("one-time code").text)
    page.get_by_label("Code of the mail").fill(code)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="A course")).to_be_visible()


def is_signed(school: School) -> bool:
    """Say whether the lab was opened with a link that its secret signed."""
    [asked] = [one for one in school.opened if "signature" in one]
    [assignment], [expires], [signature] = (
        asked[name] for name in ("assignment", "expires", "signature")
    )
    secret = signatures.read_secret(school.secret)
    return signature == launching.sign(secret, int(assignment), int(expires))
