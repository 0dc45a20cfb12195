"""Visitors amid the storms: people redeem keys at the redeem page, with codes that come by mail.

They do what the page says to do: send the form again, look for the mail, type its code, look again.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from tests.faults import mails
from tests.faults.system import System

PATIENCE = 180  # seconds for which a visitor tries each step
ASKED, PROVED = "Type the code", re.compile("Your key is being checked|redeemed|Your courses")
DONE = re.compile("The key is redeemed|You redeemed this key before")


@dataclass
class Visitor:
    """Somebody at a browser, with a key."""

    browser: httpx.Client
    server: mails.MailServer
    key: str
    tried: set[str] = field(default_factory=set)

    @property
    def email(self) -> str:
        """Their address."""
        return f"visitor-{self.key.lower()}@example.org"

    def redeem(self) -> None:
        """Go from the form to the answer, however often the page is away meanwhile."""
        form = {"key": self.key, "email": self.email}
        self._until(lambda: ASKED in self._page("POST", "/redeem/acme", form))
        self._until(self._prove)
        self._until(self._is_answered)

    def _prove(self) -> bool:
        """Type each code that came, the newest first; a form whose answer was lost was sent twice."""
        came = [mail for mail in list(self.server.received) if mail.recipient == self.email]
        for mail in reversed(came):
            [code] = re.findall(r"(?<!\d)\d{6}(?!\d)", mail.text)
            if code in self.tried:
                continue
            page = self._page("POST", "/my/code", {"code": code})
            if ASKED in page:
                self.tried.add(code)
            elif PROVED.search(page):
                return True
        return False

    def _is_answered(self) -> bool:
        page = self._page("GET", "/my/answer")
        if "Your courses" in page and 'name="once"' in page:  # proved, and then the web was away
            page = self._page("POST", "/my/key", {"key": self.key, "once": "again"})
        return DONE.search(page) is not None

    def _page(self, method: str, path: str, form: dict[str, str] | None = None) -> str:
        """Give a page's text; empty where nobody answers, or not now."""
        try:
            answer = self.browser.request(method, path, data=form)
        except httpx.TransportError:
            return ""
        return answer.text if answer.status_code < 500 else ""

    def _until(self, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not is_done():
            assert time.monotonic() < deadline, f"{self.email} was left standing"
            time.sleep(0.3)


@dataclass
class Crowd:
    """Visitors under way, and those who got through."""

    threads: list[threading.Thread] = field(default_factory=list)
    through: list[str] = field(default_factory=list)

    def join(self, post: mails.Post) -> None:
        """Wait until everybody has redeemed a key; mails that were put off come at once now."""
        post.hurry = True
        while any(thread.is_alive() for thread in self.threads):
            mails.hasten()
            time.sleep(0.5)
        post.hurry = False
        stuck = len(self.threads) - len(self.through)
        assert not stuck, f"{stuck} visitors did not get their key redeemed"


def come(system: System, post: mails.Post, count: int) -> Crowd:
    """Have so many visitors come, each with a key of their own."""
    crowd = Crowd()
    at = urlsplit(system.url)

    def visit(key: str) -> None:
        with httpx.Client(
            base_url=f"{at.scheme}://{at.netloc}",
            timeout=15,
            trust_env=False,
            follow_redirects=True,
        ) as browser:
            Visitor(browser, post.server, key).redeem()
        crowd.through.append(key)

    for key in system.add_keys(count, pool=system.pool):
        crowd.threads.append(threading.Thread(target=visit, args=(key,), daemon=True))
        crowd.threads[-1].start()
    return crowd
