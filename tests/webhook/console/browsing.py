"""People at a real browser: the system's Chromium, watched for what it complains of."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.webhook.console.people import PASSWORD, make_user
from tests.world import OPERATOR, World, build
from worker.client import Answer, Sender, message
from worker.database import connections as databases
from worker.demo import scratch
from worker.pools import keys
from worker.redemption import sources
from worker.reporting import printing
from worker.tenancy.actors import Role

# Chromium tells of every form that a rule refused, as of a file that is missing.
REFUSED = re.compile(r"the server responded with a status of 4\d\d")

expect.set_options(timeout=30_000)  # a machine may be busy; no test is about how fast this is


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the system's Chromium; without one the test is skipped, and fails in CI."""
    try:
        program = printing.browser()
    except printing.NoBrowserError:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("Chromium is not installed")
    # Chromium's own sandbox refuses root, as whom containers run it.
    flags = ["--no-sandbox"] * (os.geteuid() == 0)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=flags)
        yield running
        running.close()


def watch(tab: Page, complaints: list[str]) -> Page:
    """Keep what a tab complains of: errors of scripts, and what the pages' policy refused."""

    def complain(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning") and not REFUSED.search(said.text):
            complaints.append(f"{tab.url}: {said.text}")

    tab.on("console", complain)
    tab.on("pageerror", lambda error: complaints.append(f"{tab.url}: {error}"))
    return tab


def sign_in(tab: Page, email: str, password: str = PASSWORD) -> Page:
    """Fill in the form and send it, as people do."""
    tab.goto("/console/sign-in")
    tab.get_by_label("E-mail address").fill(email)
    tab.get_by_label("Password").fill(password)
    tab.get_by_role("button", name="Sign in").click()
    return tab


def dialog(tab: Page, button: str, title: str) -> Locator:
    """Open a dialog by its button."""
    tab.get_by_role("button", name=button, exact=True).click()
    return tab.get_by_role("dialog", name=title)


def form(tab: Page, button: str) -> Locator:
    """Find a form by the button that sends it."""
    return tab.locator("form", has=tab.get_by_role("button", name=button, exact=True))


@dataclass
class House:
    """A whole keypool that runs, with a world in it, and a browser to look at it."""

    url: str
    browser: Browser
    world: World
    sender: Sender

    @property
    def pool(self) -> str:
        """Where the world's pool has its page."""
        return f"/console/pools/{self.world.pool}"

    def user(self, role: Role = Role.MANAGER) -> str:
        """Let somebody sign in, and give their address."""
        return make_user(role, self.world.parent)

    def keys(self, *codes: str, pool: str | None = None) -> None:
        """Add keys to a pool, the world's unless told otherwise."""
        with databases.session() as session:
            keys.add_keys(session, actor=OPERATOR, pool=pool or self.world.pool, codes=codes)

    def redeem(self, key: str, email: str) -> Answer:
        """Have a shop say that a learner redeems a key, and wait until that is decided."""
        data = {"key": key, "learner": {"email": email, "name": "Ann Example"}}
        return self.sender.post(message("redemption.requested", data), wait=10)

    def launch(self, assignment: str, launch: str) -> Answer:
        """Have a lab platform say that a learner takes the training, and wait likewise."""
        now = databases.transaction(databases.clock_now).isoformat()
        data = {"assignment": assignment, "launch": launch, "launched_at": now}
        return self.sender.post(message("training.launched", data), wait=10)


@contextmanager
def running(browser: Browser) -> Iterator[House]:
    """Run a keypool as `keypool up` does, on a system of its own, with a world in it."""
    with scratch.system() as home, scratch.services(home) as url:
        with databases.session() as session:
            world = build(session, name="House")
            made = sources.add(session, actor=OPERATOR, name="portal", organization="Parent House")
        with Sender(url + made["url"], made["secret"]) as sender:
            yield House(url, browser, world, sender)
