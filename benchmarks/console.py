"""The console's pages on a large pool: the server's time for each, and what a page weighs."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import psycopg
from sqlalchemy import text

from benchmarks.frame import Rig, Round, benchmark, plain, seconds
from benchmarks.serving import served
from benchmarks.shop import OPERATOR, opened, stocked
from worker.billing import runs
from worker.database import connections
from worker.pools import tallies
from worker.tenancy import passwords, users
from worker.tenancy.actors import Role

EMAIL, PASSWORD = (
    "bench@example.com",
    "correct horse battery",
)  # of a system that is gone afterwards
ASKED = 15  # times for each page
BARE = "/console/sign-in"  # the limit: a page that asks the database nothing

PAGES = {
    "home": "/console/",
    "pools": "/console/pools",
    "new pool": "/console/pools/new",
    "pool": "/console/pools/1",
    "pool, redeemed keys": "/console/pools/1?state=redeemed",
    "pool, undistributed keys": "/console/pools/1?undistributed=1",
    "pool, a recipient's keys": "/console/pools/1?recipient=reseller7%40example.com",
    "pool, edit": "/console/pools/1/edit",
    "pool, add keys": "/console/pools/1/keys/add",
    "my key does not work": "/console/trouble?q={code}&as=learner1@example.com",
    "assignments": "/console/assignments",
    "assignments that end soon": "/console/assignments?days=60",
    "assignments, found by pieces": "/console/assignments?search=learner+example+4321",
    "assignment": "/console/assignments/{assignment}",
    "learner": "/console/learners/{email}",
    "invoices": "/console/invoices",
    "invoice": "/console/invoices/{invoice}",
    "invoice, charges of a line": "/console/invoices/{invoice}/lines/{line}",
    "sources": "/console/sources",
    "events": "/console/events",
    "failed events": "/console/events?failed=1",
    "organizations": "/console/organizations",
    "courses": "/console/courses",
    "courses, found by words": "/console/courses?search=linux+19998",
    "courses, none found": "/console/courses?search=no+such+course",
    "courses, chosen from": "/console/courses/choose?search=linux",
    "history of a pool": "/console/history?pool=1",
    "prices": "/console/prices",
    "tokens": "/console/tokens",
    "users": "/console/users",
    "reports": "/console/reports",
    "account": "/console/account",
    "pools, found by words": "/console/pools?search=term+299",
    "organizations, found by words": "/console/organizations?search=branch+1",
    "users, found by pieces": "/console/users?search=person+company+42",
    "tokens, found by words": "/console/tokens?search=portal+42",
    "sources, found by words": "/console/sources?search=shop+42",
    "endpoints, found by pieces": "/console/endpoints?search=hooks+42",
    "texts of mails, found by words": "/console/templates?search=letter+42",
    "reminders": "/console/reminders",
}

HANDED_OUT = """
    INSERT INTO distribution (pool_id, recipient, reference)
    SELECT 1, 'reseller' || n || '@example.com', 'A-' || n FROM generate_series(1, 1000) AS n;
    UPDATE key SET distribution_id = 1 + id % 1000 WHERE id % 3 = 0;
"""
TAUGHT = """
    INSERT INTO course (code, title)
    SELECT 'T-' || lpad(n::text, 5, '0'), 'Part ' || n || ' of Linux' FROM generate_series(1, 20000) AS n;
    INSERT INTO price (course_id, amount, currency, valid_from)
    SELECT id, 10, 'EUR', '1970-01-01' FROM course WHERE code LIKE 'T-%';
"""
# 14 organizations, 3,000 pools of 20 keys, and more of everything else that is listed.
PEOPLED = """
    INSERT INTO organization (name, parent_id) SELECT 'Branch ' || n, 1 FROM generate_series(1, 13) AS n;
    INSERT INTO pool (organization_id, course_id, name, starts_at, expires_at, content_availability_days)
    SELECT 1 + n % 14, 2 + n, 'Term ' || n, now() - n * interval '1 hour', now() + n * interval '2 hours', 90
      FROM generate_series(1, 2999) AS n;
    INSERT INTO key (pool_id, generated, code)
    SELECT 2 + n % 2999, true, 'POOL' || lpad(n::text, 12, '0') FROM generate_series(0, 59979) AS n;
    INSERT INTO console_user (organization_id, email, role)
    SELECT 1 + n % 14, 'person' || n || '@company.example', 'manager'
      FROM generate_series(1, 500) AS n;
    INSERT INTO token (organization_id, name, role, hash)
    SELECT 1 + n % 14, 'Portal ' || n, 'manager', sha256(n::text::bytea) FROM generate_series(1, 500) AS n;
    INSERT INTO source (organization_id, name)
    SELECT 1 + n % 14, 'Shop ' || n FROM generate_series(1, 500) AS n;
    INSERT INTO endpoint (organization_id, url, types)
    SELECT 1 + n % 14, 'https://hooks' || n || '.example.com', '{pool.low}' FROM generate_series(1, 500) AS n;
    INSERT INTO mail_template (organization_id, name, subject, body)
    SELECT 1 + n % 14, 'Letter ' || n, 'Your keys', '{{ key }}' FROM generate_series(1, 500) AS n;
    INSERT INTO reminder (organization_id, kind, threshold, looked_to)
    SELECT organization.id, kind,
           CASE WHEN kind NOT IN ('invoice_sent', 'report_made', 'trouble') THEN 7 END, now()
      FROM organization, unnest(enum_range(NULL::reminder_kind)) AS kind;
"""
# Every tenth key, over the last 60 days.
REDEEMED = """
    INSERT INTO learner (organization_id, email, name)
    SELECT 1, 'learner' || id || '@example.com', 'Learner ' || id FROM key WHERE id % 10 = 1;
    INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id, redeemed_at, expires_at)
    SELECT key.id, pool_id, course_id, learner.id, 1, now() - age, now() - age + interval '90 days'
      FROM key JOIN pool ON pool.id = pool_id
      JOIN learner ON learner.email = 'learner' || key.id || '@example.com',
           LATERAL (SELECT key.id * 7919 % 86400 * interval '1 minute') AS ago (age);
    UPDATE key SET state = 'redeemed' WHERE id % 10 = 1;
    INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash, type, data,
                       received_at, status, outcome, settled_at, assignment_id)
    SELECT 1, 1, 1, 'msg_' || id, sha256(id::text::bytea), 'redemption.requested', NULL, redeemed_at,
           'settled', 'redeemed', redeemed_at, id
      FROM assignment;
    INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email, key_id,
                            pool_id, assignment_id, outcome, received_at)
    SELECT event.id, pool.organization_id, 1, learner.email, key_id, pool.id, assignment.id, 'redeemed',
           redeemed_at
      FROM assignment JOIN pool ON pool.id = pool_id JOIN event ON event.assignment_id = assignment.id
      JOIN learner ON learner.id = assignment.learner_id;
    INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id, assignment_id,
                        amount, currency, occurred_at)
    SELECT 'redemption', pool.organization_id, 1, pool.course_id, pool.id, assignment.id, 9.90, 'EUR',
           redeemed_at
      FROM assignment JOIN pool ON pool.id = pool_id;
    UPDATE assignment SET status = 'expired', expires_at = redeemed_at + interval '1 hour', expired_at = now()
     WHERE id % 20 = 7;
    UPDATE assignment SET status = 'cancelled', cancelled_at = now() WHERE id % 50 = 3;
"""
SAMPLE_IDS = """
    SELECT code, assignment.id AS assignment, email, invoice.id AS invoice, invoice_line.id AS line
      FROM key JOIN assignment ON assignment.key_id = key.id
      JOIN learner ON learner.id = assignment.learner_id, invoice
      JOIN invoice_line ON invoice_line.invoice_id = invoice.id
     LIMIT 1"""


def lived_in(count: int) -> None:
    """Fill a shop's pool with so many keys: a third handed out, a tenth redeemed and billed."""
    opened()
    stocked(count)
    with psycopg.connect(plain(), autocommit=True) as connection:
        for statements in (HANDED_OUT, TAUGHT, PEOPLED, "ANALYZE", REDEEMED):
            connection.execute(statements)
    runs.run(actor=OPERATOR)
    with connections.session() as session:
        tallies.fold(session)
        given = {
            "email": EMAIL,
            "new_hash": passwords.hashed(PASSWORD, about=EMAIL),
            "organization": None,
        }
        users.add(session, actor=OPERATOR, role=Role.OPERATOR, **given)


@benchmark("console.pages", unit="pages/s", n=1_000_000)
def paging(rig: Rig, count: int) -> Round:
    """The slowest page of a pool of so many keys, and one that asks the database nothing.

    A page's time is the median of some requests, one after another. What it weighs is what a
    browser loads that has nothing yet: the page and its assets, packed.
    """
    large, small = _measured(rig, count), _measured(rig, max(1, count // 10))
    slowest = max(PAGES, key=lambda name: large.took[name])
    dearest = max(PAGES, key=lambda name: large.took[name] / small.took[name])
    return Round(
        ours=1 / large.took[slowest],
        limit=1 / large.took[BARE],
        notes={
            **{f"ms for {name}": large.took[name] * 1000 for name in PAGES},
            "slowest page, ms": large.took[slowest] * 1000,
            "times as dear as with a tenth of the keys, at most": (
                large.took[dearest] / small.took[dearest]
            ),
            "heaviest page with its assets, KB": max(large.weighs.values()) / 1000,
        },
    )


@dataclass(frozen=True)
class Measured:
    """How long each page took, in seconds, and what it weighs, in bytes."""

    took: dict[str, float]
    weighs: dict[str, int]


def _measured(rig: Rig, count: int) -> Measured:
    def filled() -> None:
        lived_in(count)

    filled.__qualname__ = f"lived_in_{count}"
    with rig.filled(filled), tempfile.TemporaryDirectory() as folder:
        with connections.session() as session:
            ids = dict(session.execute(text(SAMPLE_IDS)).mappings().one())
        with served(Path(folder)) as (web, _), httpx.Client(base_url=web) as client:
            took = {BARE: _median(client, BARE)}
            assets = _signed_in(client)
            pages = {name: page.format(**ids) for name, page in PAGES.items()}
            took |= {name: _median(client, page) for name, page in pages.items()}
            loaded = sum(_weight(client, asset) for asset in assets)
            weighs = {name: loaded + _weight(client, page) for name, page in pages.items()}
    return Measured(took, weighs)


def _signed_in(client: httpx.Client) -> list[str]:
    """Sign in, and give the addresses of what every page loads."""
    form = client.get(BARE).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', form)
    given = {"csrf_token": token[1] if token else "", "email": EMAIL, "password": PASSWORD}
    client.post(BARE, data=given)  # where it fails, every page leads back here
    return re.findall(r'(?:href|src)="(/console/static/[^"]+)"', form)


def _median(client: httpx.Client, address: str) -> float:
    return median(seconds(lambda: client.get(address).raise_for_status()) for _ in range(ASKED))


def _weight(client: httpx.Client, address: str) -> int:
    with client.stream("GET", address) as answer:
        answer.raise_for_status()
        return sum(len(block) for block in answer.iter_raw())
