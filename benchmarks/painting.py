"""The console's pages in a browser that has nothing yet: when each is first painted, and what is sent."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, StorageState, sync_playwright
from sqlalchemy import text

from benchmarks.console import BARE, EMAIL, PAGES, PASSWORD, SAMPLE_IDS, lived_in
from benchmarks.frame import Rig, Round, benchmark
from benchmarks.serving import served
from worker.database import connections
from worker.reporting import printing

VISITS = 3  # of each page, each by a browser that has nothing; the best counts, for others use the machine
EMPTY = "/healthz"  # the limit: a page of one line

# When the page was first painted, in ms from its request on; and the bytes of all that it loaded, as sent.
PAINTED = """async () => {
    const painted = () => performance.getEntriesByName("first-contentful-paint")[0];
    while (!painted()) await new Promise(requestAnimationFrame);
    const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
    return [painted().startTime, all.reduce((sum, one) => sum + one.encodedBodySize, 0)];
}"""


@dataclass(frozen=True)
class Visit:
    """When a page was first painted, in seconds, and what was sent of it, in bytes."""

    paint: float
    sent: int


@benchmark("console.paint", unit="paints/s", n=100_000)
def painting(rig: Rig, count: int) -> Round:
    """The first paint of the page that is slowest at it, on a pool of so many keys, and of an empty page."""

    def filled() -> None:
        lived_in(count)

    filled.__qualname__ = f"lived_in_{count}"
    with rig.filled(filled), tempfile.TemporaryDirectory() as folder:
        with connections.session() as session:
            ids = dict(session.execute(text(SAMPLE_IDS)).mappings().one())
        with served(Path(folder)) as (web, _), _chromium() as browser:
            signed_in = _signed_in(browser, web)
            limit = _visited(browser, web + EMPTY, signed_in)
            pages = {
                name: _visited(browser, web + page.format(**ids), signed_in)
                for name, page in PAGES.items()
            }
    slowest = max(one.paint for one in pages.values())
    return Round(
        ours=1 / slowest,
        limit=1 / limit.paint,
        notes={
            **{f"ms for {name}": one.paint * 1000 for name, one in pages.items()},
            "slowest first paint, ms": slowest * 1000,
            "first paint of an empty page, ms": limit.paint * 1000,
            "most that is sent of a page, KB": max(one.sent for one in pages.values()) / 1000,
        },
    )


@contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program, flags = printing.browser(), ["--no-sandbox"]  # everything it loads is ours
        running = playwright.chromium.launch(executable_path=program, args=flags)
        yield running
        running.close()


def _signed_in(browser: Browser, web: str) -> StorageState:
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(web + BARE)
    tab.get_by_label("E-mail address").fill(EMAIL)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(f"{web}/console/")
    kept = context.storage_state()
    context.close()
    return kept


def _visited(browser: Browser, address: str, signed_in: StorageState) -> Visit:
    """Visit a page some times; give its best first paint."""
    visits = [_visit(browser, address, signed_in) for _ in range(VISITS)]
    return Visit(min(one.paint for one in visits), visits[0].sent)


def _visit(browser: Browser, address: str, signed_in: StorageState) -> Visit:
    context = browser.new_context(storage_state=signed_in)
    tab = context.new_page()
    tab.goto(address, wait_until="load")
    milliseconds, sent = tab.evaluate(PAINTED)
    context.close()
    return Visit(milliseconds / 1000, sent)
