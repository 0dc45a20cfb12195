"""`make screenshots`: every page, wide and phone-narrow, light and dark, into docs/images/console/.

The world on them is simulated, from one seed and at one hour, so that the same pages give the same
pictures.
"""

import argparse
import io
import os
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.webhook.console.browsing import chromium, dialog, sign_in
from tests.webhook.console.people import PASSWORD
from tests.world import OPERATOR
from worker import requests, simulation
from worker.bulk import bulk_acts, selecting
from worker.catalogue import courses
from worker.database import connections
from worker.demo import scratch
from worker.machine import supervisor
from worker.outgoing import composing, endpoints, mailing
from worker.pools import batches, distributions
from worker.redemption import proofs, settling, sources
from worker.reporting import keeping, making
from worker.tenancy import organizations, tokens, users
from worker.tenancy.actors import Actor, Role
from worker.tenancy.passwords import hashed

FOLDER = Path(__file__).parents[3] / "docs" / "images" / "console"
HOUR = datetime(2026, 11, 25, 9, 30, tzinfo=UTC)
PORT = 8093
MANAGER, SELLER = "nora.vogel@alder.example", "desk@seller.example"
BRANCH = "branch@alder.example"
SIZES = {"wide": (1200, 1500), "narrow": (390, 1700)}  # and how much of a long page is shown
COLOURS = 96

# By the name of the picture: who looks, and where; nowhere: an act says where, or goes on from before.
PAGES = {
    "sign-in": (None, "/sign-in"),
    "first-steps": (SELLER, "/first-steps"),
    "home": (MANAGER, "/"),
    "home-operator": (SELLER, "/"),
    "search": (MANAGER, "/search?q=alder"),
    "pools": (MANAGER, "/pools"),
    "pool": (MANAGER, "/pools/{pool}"),
    "pool-keys": (MANAGER, "/pools/{pool}?state=redeemed#keys"),
    "keys-selected": (MANAGER, "/pools/{pool}?state=issued"),
    "keys-distribute": (MANAGER, "/pools/{pool}?state=issued&undistributed=1"),
    "new-pool": (MANAGER, "/pools/new"),
    "new-pool-course": (MANAGER, "/pools/new"),
    "new-pool-keys": (MANAGER, "/pools/new"),
    "edit-pool": (MANAGER, "/pools/{pool}/edit"),
    "add-keys": (MANAGER, "/pools/{pool}/keys/add"),
    "recipients": (MANAGER, "/pools/{pool}/distribute/table"),
    "trouble": (MANAGER, "/trouble?q={code}&as={email}"),
    "assignments": (MANAGER, "/assignments"),
    "assignments-selected": (MANAGER, "/assignments?at_risk=1"),
    "assignments-extend": (MANAGER, "/assignments?at_risk=1"),
    "assignments-mail": (MANAGER, "/assignments?at_risk=1"),
    "bulk-act": (MANAGER, "/bulk-acts/{act}"),
    "bulk-acts": (MANAGER, "/bulk-acts"),
    "assignment": (MANAGER, "/assignments/{assignment}"),
    "assignment-cancel": (MANAGER, "/assignments/{assignment}"),
    "learner": (MANAGER, "/learners/{email}"),
    "redemptions": (MANAGER, "/redemptions"),
    "charges": (SELLER, "/charges"),
    "invoices": (SELLER, "/invoices"),
    "invoice": (SELLER, "/invoices/{invoice}"),
    "invoice-line": (SELLER, "/invoices/{invoice}/lines/{line}"),
    "reports": (MANAGER, "/reports"),
    "report": (MANAGER, "/reports/{report}.html"),
    "schedules": (MANAGER, "/reports/schedules"),
    "sources": (MANAGER, "/sources"),
    "source": (MANAGER, "/sources/{source}"),
    "batches": (MANAGER, "/batches"),
    "history": (MANAGER, "/history"),
    "events": (MANAGER, "/events"),
    "event": (MANAGER, "/events/{event}"),
    "endpoints": (MANAGER, "/endpoints"),
    "endpoint": (MANAGER, "/endpoints/{endpoint}"),
    "delivery": (MANAGER, "/deliveries/{delivery}"),
    "messages": (MANAGER, "/messages"),
    "message": (MANAGER, "/messages/{message}"),
    "templates": (MANAGER, "/templates"),
    "reminders": (MANAGER, "/reminders"),
    "tokens": (MANAGER, "/tokens"),
    "users": (MANAGER, "/users"),
    "sessions": (MANAGER, "/sessions"),
    "organizations": (SELLER, "/organizations"),
    "courses": (SELLER, "/courses"),
    "course": (SELLER, "/courses/{course}"),
    "organization": (SELLER, "/organizations/{organization}"),
    "redeem-settings": (SELLER, "/organizations/{organization}#redeem-page"),
    "statement": (SELLER, "/organizations/{organization}/statement"),
    "seller": (SELLER, "/seller"),
    "prices": (SELLER, "/prices"),
    "account": (MANAGER, "/account"),
    "help": (MANAGER, "/help"),
    "guide": (MANAGER, "/help/keys"),
    "error": (MANAGER, "/pools/0"),
    "shared-pools": (BRANCH, "/organizations/{child}/shared-pools"),
    "shared-pool": (BRANCH, "/organizations/{child}/shared-pools/{shared}"),
    "distribute": (MANAGER, "/pools/{pool}"),
    # What a learner sees, one after the other in one tab.
    "mail": (None, ""),
    "redeem": (None, ""),
    "redeem-code": (None, ""),
    "redeem-answer": (None, ""),
    "redeem-my": (None, ""),
}


def main() -> None:
    """Take all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PAGES))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--png", action="store_true", help="as PNG, which more programs show")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with _served() as url, chromium() as browser:
        ids = simulated()
        for scheme in ("light", "dark"):
            for size, (width, tallest) in SIZES.items():
                look = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
                with _people(browser, url, look) as tabs:
                    for name in given.names or PAGES:
                        picture = _taken(tabs, name, ids, tallest)
                        ending = "png" if given.png else "webp"
                        _keep(picture, given.folder / f"{name}-{size}-{scheme}.{ending}")


@contextmanager
def _served() -> Iterator[str]:
    """Serve the web alone, at one hour; whatever the worker does is done here, in order."""
    offset = (HOUR - datetime.fromtimestamp(time.time(), UTC)).total_seconds()
    os.environ["KEYPOOL_CLOCK_OFFSET"] = str(round(offset))
    with scratch.system() as home:
        services = supervisor.services(home, host=scratch.HOST, port=PORT, processes=1)
        web = [service for service in services if service.name == "web"]
        with supervisor.supervised(web, logs=home / "log") as supervision:
            supervision.wait_until_ready()
            yield f"http://{scratch.HOST}:{PORT}"


def simulated() -> dict[str, str]:
    """Make a year of history, and what only people make; give ids by their names in PAGES."""
    given = {"organizations": 9, "months": 14, "redemptions": 30_000, "seed": 11}
    connections.transaction(simulation.simulate, **given)
    simulation.bill()
    with connections.session() as session:
        found = session.execute(text(FOUND)).mappings().one()
        ids = {name: str(value) for name, value in found.items()}
        _people_and_systems(session, ids["organization"])
        batches.generate(session, actor=OPERATOR, pool=ids["pool"], count=250_000)
        ids["shared"] = ids["pool"]
        ids |= _redeem_page(session, ids["organization"], ids["course"])
        ids["message"] = _hand_out(session, ids["pool"])
        ids |= _told(session, ids["organization"], ids["pool"])
        ids |= _posted(session, ids)
        ids["act"] = _extended(session, int(ids["organization"]), ids["pool"])
        # Those that finalized invoices ask for would take their time.
        session.execute(text("DELETE FROM report_run"))
        about = {"organization": ids["organization"], "from_": "2026-09-01", "to": "2026-11-24"}
        made = [
            keeping.ask(session, actor=OPERATOR, notebook=notebook, format=format, **about)["id"]
            for notebook, format in (("redemptions", "pdf"), ("usage", "html"))
        ]
        ids["report"] = made[0]
    for _ in range(2):
        connections.transaction(batches.work_chunk)
    for report in made:
        making.make_next(only=int(report))
    with connections.session() as session:
        about = {"organization": ids["organization"], "notebook": "pools"}
        keeping.ask(session, actor=OPERATOR, **about)
    return ids


# The busiest open pool; of it the key that was tried most often, and whose launches are most.
FOUND = """
    WITH busiest AS (
        SELECT pool.* FROM pool JOIN key ON key.pool_id = pool.id AND key.state = 'redeemed'
         WHERE pool.expires_at > clock_now() AND pool.paused_at IS NULL AND pool.share_with_children
         GROUP BY pool.id ORDER BY count(*) DESC LIMIT 1),
    tried AS (
        SELECT key.code FROM redemption JOIN key ON key.id = redemption.key_id
         WHERE key.pool_id = (SELECT id FROM busiest)
         GROUP BY key.id ORDER BY count(*) DESC, key.id LIMIT 1),
    taken AS (
        SELECT assignment.id, learner.email FROM assignment
          JOIN learner ON learner.id = assignment.learner_id
          JOIN launch ON launch.assignment_id = assignment.id
         WHERE assignment.pool_id = (SELECT id FROM busiest) AND assignment.status = 'active'
         GROUP BY assignment.id, learner.id ORDER BY count(*) DESC, assignment.id LIMIT 1),
    billed AS (
        SELECT invoice.id, (SELECT min(id) FROM invoice_line WHERE invoice_id = invoice.id) AS line
          FROM invoice WHERE organization_id = (SELECT organization_id FROM busiest)
                         AND status = 'finalized'
         ORDER BY month DESC, id LIMIT 1)
    SELECT busiest.id AS pool, busiest.organization_id AS organization, tried.code,
           (SELECT code FROM course WHERE id = busiest.course_id) AS course,
           taken.id AS assignment, taken.email, billed.id AS invoice, billed.line
      FROM busiest, tried, taken, billed"""


def _people_and_systems(session: Session, owner: str) -> None:
    for email, role, whose in (
        (SELLER, Role.OPERATOR, None),
        (MANAGER, Role.MANAGER, owner),
        ("emil.haas@alder.example", Role.ANALYST, owner),
        ("petra.lang@alder.example", Role.FINANCE, owner),
    ):
        given = {"email": email, "new_hash": hashed(PASSWORD, about=email), "organization": whose}
        users.add(session, actor=OPERATOR, role=role, **given)
    for name, role in (("Shop", Role.SENDER), ("Warehouse of figures", Role.ANALYST)):
        tokens.add(session, actor=OPERATOR, name=name, role=role, organization=owner)


def _redeem_page(session: Session, owner: str, course: str) -> dict[str, str]:
    """Turn an organization's page on, with a logo; let somebody of its branch sign in."""
    drawn = io.BytesIO()
    leaf = Image.new("RGBA", (310, 120))
    draw = ImageDraw.Draw(leaf)
    draw.ellipse((8, 8, 112, 112), fill="#1f6b3b")
    draw.polygon([(60, 20), (92, 92), (28, 92)], fill=(0, 0, 0, 0))
    draw.text((132, 38), "ALDER", fill="#1f6b3b", font_size=52)
    leaf.save(drawn, "PNG")
    courses.edit(
        session, actor=OPERATOR, course=course, launch_url="https://labs.alder.example/start"
    )
    organizations.edit(
        session, actor=OPERATOR, organization=owner, redeem_page="proof", colour="#1f6b3b",
        support_email="help@alder.example", logo=drawn.getvalue(),
        redeem_text="Welcome! Your key is in our mail, or on the card that you were given.",
    )  # fmt: skip
    branch = session.scalar(
        text("SELECT id FROM organization WHERE parent_id = :owner ORDER BY id LIMIT 1"),
        {"owner": int(owner)},
    )
    given = {
        "email": BRANCH,
        "new_hash": hashed(PASSWORD, about=BRANCH),
        "organization": str(branch),
    }
    users.add(session, actor=OPERATOR, role=Role.MANAGER, **given)
    slug = organizations.show(session, actor=OPERATOR, organization=owner)["slug"]
    return {"slug": slug, "child": str(branch)}


def _told(session: Session, owner: str, pool: str) -> dict[str, str]:
    """Register an endpoint that is to be told of a pool."""
    given = {"url": "https://portal.alder.example/hooks/keypool", "organization": owner}
    made = endpoints.add(session, actor=OPERATOR, **given, pool_low=500)
    delivery = session.execute(
        text("""INSERT INTO delivery (endpoint_id, type, data)
                VALUES (:endpoint, 'pool.low', jsonb_build_object('pool', CAST(:pool AS text), 'issued', 499))
                RETURNING id"""),
        {"endpoint": int(made["id"]), "pool": pool},
    ).scalar_one()
    return {"endpoint": made["id"], "delivery": str(delivery)}


def _posted(session: Session, ids: dict[str, str]) -> dict[str, str]:
    """Add a source that posted an event; note its latest requests, most taken and some refused."""
    made = sources.add(
        session, actor=OPERATOR, name="Library portal", organization=ids["organization"]
    )
    event = session.scalars(
        POSTED, {**ids, "source": int(made["id"]), "assignment": int(ids["assignment"])}
    ).one()
    for nth in range(12):
        name, is_new = f"msg_5c1f0934a{nth:02}", nth % 5 > 0
        requests.accepted(int(made["id"]), webhook_id=name, event_id=event, is_new=is_new)
    for code in ("stale", "signature_wrong"):
        requests.refused(int(made["id"]), status=401, code=code)
    requests.carry()  # what this process noted
    session.execute(TOLD, {"endpoint": int(ids["endpoint"]), "event": event})
    return {"source": made["id"], "event": str(event)}


def _extended(session: Session, owner: int, pool: str) -> str:
    """Extend the assignments of a pool that began first; give the act."""
    oldest = text("SELECT id::text FROM assignment WHERE pool_id = :pool ORDER BY id LIMIT 14")
    ids = session.scalars(oldest, {"pool": int(pool)}).all()
    actor = Actor(f"user {MANAGER}", Role.MANAGER, owner)
    about = {
        "selection": selecting.Assignments((*map(int, ids), 111111111)),
        "fields": {"by_days": 14},
    }
    return bulk_acts.ask(session, actor=actor, act="extend", **about)["id"]


def _hand_out(session: Session, pool: int) -> str:
    """Hand out keys; give the id of the mail that brings some."""
    for recipient, reference, count in (
        ("orders@harbourbooks.example", "PO-2231", 120),
        ("training@northlight.example", "PO-2240", 60),
        ("Library of Fathom Learning", "Autumn fair", 25),
    ):
        given = {"recipient": recipient, "reference": reference, "count": count}
        distributions.distribute(session, actor=OPERATOR, pool=pool, **given)
    mailed = {"recipient": "nora.falk@alder.example", "name": "Nora Falk", "mail": True}
    made = distributions.distribute(session, actor=OPERATOR, pool=pool, **mailed)
    return str(made["message"])


@contextmanager
def _people(browser: Browser, url: str, look: dict[str, Any]) -> Iterator[dict[str | None, Page]]:
    """Give everybody's tab, by their address; None's is not signed in."""
    people = (MANAGER, SELLER, BRANCH, None)
    contexts = [browser.new_context(base_url=url, locale="en-GB", **look) for _ in people]
    tabs = [context.new_page() for context in contexts]
    for tab, email in zip(tabs, people[:-1], strict=False):
        sign_in(tab, str(email))
        tab.wait_for_url(re.compile("/console/(?!sign-in)"))  # the next page is asked for as them
    yield dict(zip(people, tabs, strict=True))
    for context in contexts:
        context.close()


def _taken(tabs: dict[str | None, Page], name: str, ids: dict[str, str], tallest: int) -> bytes:
    who, path = PAGES[name]
    tab = tabs[who]
    if path:
        tab.goto(f"/console{path.format(**ids)}", wait_until="networkidle")
    if name in OPENED:
        OPENED[name](tab, ids)
    if tab.locator("dialog[open], .selected:visible").count() or "#" in path:
        return tab.screenshot(animations="disabled", caret="hide")
    width, height = tab.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, tallest)}
    return tab.screenshot(full_page=True, clip=clip, animations="disabled", caret="hide")


def _choose(tab: Page, _ids: dict[str, str]) -> None:
    choosing = dialog(tab, "Choose", "Choose a course")
    choosing.get_by_label("Code or title").fill("in")
    choosing.get_by_role("option").nth(2).wait_for()


def _paste(tab: Page, _ids: dict[str, str]) -> None:
    for label, value in (
        ("Name", "Spring intake"),
        ("Course", "GIT-050"),
        ("Starts", "2027-02-01"),
        ("Expires", "2027-12-31"),
    ):
        tab.get_by_label(label, exact=True).fill(value)
    tab.get_by_role("tab", name="Training Keys").click()
    tab.get_by_label("Training key 1").fill("WELCOME-2026-0001")
    many = dialog(tab, "Add Multiple Training Keys", "Add Multiple Training Keys")
    many.get_by_label("One key per line").fill("WELCOME-2026-0002\nwelcome 2026 0002\n=1+1")
    many.get_by_role("button", name="Check the lines").click()
    tab.get_by_role("region", name="Refused lines").wait_for()


def _cancel(tab: Page, _ids: dict[str, str]) -> None:
    dialog(tab, "Cancel", "Cancel this assignment?").wait_for()


def _select(tab: Page, _ids: dict[str, str]) -> None:
    for nth in (0, 1, 3):
        tab.locator("input[name=row]").nth(nth).check()


def _give_selected(tab: Page, _ids: dict[str, str]) -> None:
    _select(tab, _ids)
    bar = tab.get_by_role("form", name="Acts on what is selected")
    bar.get_by_role("button", name="Distribute…").click()
    asking = tab.get_by_role("dialog", name="Confirm")
    asking.get_by_label("Recipient (e-mail or name)").fill("desk@harbourbooks.example")


def _mail_selected(tab: Page, _ids: dict[str, str]) -> None:
    _select(tab, _ids)
    tab.get_by_role("checkbox", name="All 6").check()
    dialog(tab, "Mail…", "Confirm").get_by_role("heading").wait_for()


def _extend(tab: Page, _ids: dict[str, str]) -> None:
    _select(tab, _ids)
    asking = dialog(tab, "Extend…", "Confirm")
    asking.get_by_label("By days").fill("30")
    asking.get_by_label("Price for each").fill("4.50")


def _distribute(tab: Page, _ids: dict[str, str]) -> None:
    handing = dialog(tab, "Distribute", "Distribute keys")
    handing.get_by_label("Recipient (e-mail or name)").fill("ines.maurer@alder.example")
    handing.get_by_label("Send the recipient their keys by e-mail").check()


def _show_mail(tab: Page, ids: dict[str, str]) -> None:
    with connections.session() as session:
        [facts] = composing.facts(session, [int(ids["message"])])
    inline = f"data:image/png;base64,{b64encode(facts.logo).decode()}"
    tab.set_content(re.sub('cid:[^"]+', inline, composing.compose(facts).html))


def _open_link(tab: Page, ids: dict[str, str]) -> None:
    """Open the redeem page as a mailed link does, and fill it in; each picture has a key of its own."""
    with connections.session() as session:
        code = session.scalars(UNUSED, {"pool": ids["pool"]}).one()
    tab.goto(f"/redeem/{ids['slug']}?language=en#{code}", wait_until="networkidle")
    tab.get_by_label("Your e-mail address").fill(f"ines.maurer+{code[-4:].lower()}@alder.example")
    tab.get_by_label("Your name").fill("Ines Maurer")


def _ask_for_code(tab: Page, _ids: dict[str, str]) -> None:
    tab.get_by_role("button", name="Go on").click()
    tab.get_by_label("Code of the mail").wait_for()
    mailing.send_all(until=time.monotonic() + 60)  # a code is good from then on


def _prove(tab: Page, _ids: dict[str, str]) -> None:
    with connections.session() as session:
        identity = session.scalars(LAST_CODE).one()
    tab.get_by_label("Code of the mail").fill(proofs.code(identity))
    tab.get_by_role("button", name="Go on").click()  # nobody settles, so the page waits in vain
    settling.settle_batch(limit=500)
    tab.get_by_role("link", name="Look again").click()
    tab.get_by_role("link", name="Open the course").wait_for()


def _my_courses(tab: Page, _ids: dict[str, str]) -> None:
    tab.get_by_role("link", name="Your courses").click()
    tab.get_by_role("heading", name="Your courses").wait_for()


UNUSED = text("""
    SELECT code FROM key WHERE pool_id = :pool AND state = 'issued' AND distribution_id IS NULL
     ORDER BY random() LIMIT 1""")
POSTED = text("""
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash, type,
                       data, status, outcome, assignment_id, settled_at)
    SELECT id, organization_id, organization_id, 'msg_5c1f0934a11', sha256('shown'::bytea),
           'redemption.requested',
           jsonb_build_object('learner', jsonb_build_object('email', CAST(:email AS text))),
           'settled', 'redeemed', :assignment, clock_now() FROM source WHERE id = :source RETURNING id""")
TOLD = text("""
    INSERT INTO delivery (endpoint_id, type, data, event_id, state, attempts, ended_at)
    VALUES (:endpoint, 'redemption.decided', jsonb_build_object('event', CAST(:event AS text)), :event,
            'delivered', 1, clock_now())""")
LAST_CODE = text("""
    SELECT identity::text FROM message WHERE kind = 'code' ORDER BY id DESC LIMIT 1""")

OPENED: dict[str, Callable[[Page, dict[str, str]], None]] = {
    "distribute": _distribute,
    "mail": _show_mail,
    "redeem": _open_link,
    "redeem-code": _ask_for_code,
    "redeem-answer": _prove,
    "redeem-my": _my_courses,
    "new-pool-course": _choose,
    "new-pool-keys": _paste,
    "assignment-cancel": _cancel,
    "assignments-selected": _select,
    "assignments-mail": _mail_selected,
    "keys-selected": _select,
    "keys-distribute": _give_selected,
    "assignments-extend": _extend,
}


def _keep(picture: bytes, path: Path) -> None:
    """Write a picture small: pages have few colours."""
    few = {"colors": COLOURS, "dither": Image.Dither.NONE, "method": Image.Quantize.MAXCOVERAGE}
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(**few)
    if path.suffix == ".png":
        image.save(path, optimize=True)
    else:
        image.convert("RGB").save(path, lossless=True, quality=100, method=6, exact=False)


if __name__ == "__main__":
    main()
