"""The world of the demo's day: the seller, its buyers' addresses, new pools and their keys."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session

from worker.billing import seller
from worker.database.connections import clock_now, session
from worker.demo import traffic
from worker.demo.past import ACADEMY, AMERICAS, NORDIC, RIDGEWAY
from worker.errors import InvalidInputError
from worker.pools import batches, distributions, exporting, keys, pools, retiring
from worker.pools.batches import BatchShape
from worker.pools.import_reports import ImportReport
from worker.redemption import sources
from worker.redemption.sources import SourceInClear
from worker.tenancy import organizations
from worker.tenancy.actors import Actor

ACTOR = Actor.operator("keypool demo")
TREE = [ACADEMY, NORDIC, AMERICAS]
SPRING, FALL, WORKSHOP = "Spring intake", "Fall intake", "Workshop week"
# A pool for each outcome that refuses a good key.
REFUSING = {
    "pool_paused": "Summer school",
    "pool_not_started": "Next year",
    "pool_expired": "Last year",
    "key_retired": "Withdrawn leaflet",
    "not_available_to_organization": "Ridgeway open days",
}
# What their invoices print.
SELLER: dict[str, Any] = {
    "name": "Lighthouse Courses GmbH", "street": "Kaistraße 7", "postcode": "20457", "city": "Hamburg",
    "country": "DE", "tax_id": "DE136695976", "contact": "Ada Lindqvist", "phone": "+49 40 5550 100",
    "email": "billing@lighthouse.example", "electronic_address": "billing@lighthouse.example",
    "time_zone": "Europe/Berlin",
}  # fmt: skip
BANKS = [
    {"currency": "EUR", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX"},
    {"currency": "USD", "iban": "DE02120300000000202051", "bic": "BYLADEM1001"},
    {"currency": "GBP", "iban": "GB33BUKB20201555555555", "bic": "BUKBGB22"},
]
BUYERS: dict[str, dict[str, Any]] = {
    ACADEMY: {
        "legal_name": "Harbour Academy GmbH", "street": "Am Hafen 12", "postcode": "18055",
        "city": "Rostock", "country": "DE", "tax_id": "DE811569869", "locale": "de",
        "buyer_reference": "04011000-12345-34", "billing_email": "rechnung@harbour.example",
        "electronic_address": "rechnung@harbour.example",
    },
    NORDIC: {
        "legal_name": "Harbour Nordic AB", "street": "Strandvägen 3", "postcode": "114 51",
        "city": "Stockholm", "country": "SE", "tax_id": "SE123456789701",
        "buyer_reference": "Finance", "electronic_address": "faktura@harbour.example",
    },
    AMERICAS: {
        "legal_name": "Harbour Americas Inc.", "street": "200 Front Street", "postcode": "NY 10038",
        "city": "New York", "country": "US", "tax_id": "12-3456789", "buyer_reference": "AP",
        "electronic_address": "ap@harbour.example",
    },
    RIDGEWAY: {
        "legal_name": "Ridgeway Training Ltd", "street": "5 Mill Lane", "postcode": "OX1 1AA",
        "city": "Oxford", "country": "GB", "tax_id": "GB980780684", "buyer_reference": "Accounts",
        "electronic_address": "accounts@ridgeway.example",
    },
}  # fmt: skip
# Who gets keys of the largest pool: the name, the address, the order, and which share of the keys.
ORDERS = [
    ("Quayside Books", "orders@quayside-books.example", "PO-10417", 0.02),
    ("City of Rostock", "fortbildung@rostock.example", "2026-0815", 0.015),
    ("Warnow Shipyards", "training@warnow-shipyards.example", "4500081733", 0.02),
    ("Baltic Freight AB", "learning@baltic-freight.example", "BF-2291", 0.01),
    ("Elbe Analytics", "people@elbe-analytics.example", "PO-10433", 0.01),
    ("Quayside Books", "orders@quayside-books.example", "PO-10436", 0.15),
    ("City of Rostock", "fortbildung@rostock.example", "2026-0822", 0.12),
    ("Warnow Shipyards", "training@warnow-shipyards.example", "4500081790", 0.1),
    ("Baltic Freight AB", "learning@baltic-freight.example", "BF-2304", 0.08),
    ("Lighthouse Library", "desk@lighthouse-library.example", "PO-10452", 0.05),
]
TYPED_KEYS = 3
SPARE = 5
# Bad lines that are pasted along with good ones.
SLIPS = ["", "WORKSHOP-0000001", "workshop 0000002", "short", "WORKSHOP-0000003!"]


def complete(opened: Session) -> None:
    """Give the seller and its buyers what their invoices print."""
    seller.edit(opened, actor=ACTOR, banks=BANKS, **SELLER)
    for name, printed in BUYERS.items():
        organizations.edit(opened, actor=ACTOR, organization=name, **printed)


def found(opened: Session) -> SourceInClear:
    """Make the day's pools, and give the source that may post."""
    _found_pools(opened)
    return sources.add(opened, actor=ACTOR, name="portal", organization=ACADEMY)


def _found_pools(opened: Session) -> None:
    """Make each pool, with its owner, course, access, and its window in days from now."""
    here, there = (ACADEMY, "SQL-201", 30), (RIDGEWAY, "SQL-201", 30)
    for name, (owner, course, access), starts, expires in [
        (SPRING, (ACADEMY, "K8S-101", 180), -7, 90),
        (FALL, (AMERICAS, "K8S-101", 180), -7, 90),
        (WORKSHOP, here, -7, 14),
        (REFUSING["pool_paused"], here, -7, 90),
        (REFUSING["pool_not_started"], here, 300, 665),
        (REFUSING["pool_expired"], here, -400, -35),
        (REFUSING["key_retired"], here, -7, 90),
        (REFUSING["not_available_to_organization"], there, -7, 90),
    ]:
        pools.create(
            opened,
            actor=ACTOR,
            name=name,
            organization=owner,
            course=course,
            starts=_day(opened, starts),
            expires=_day(opened, expires),
            content_availability=access,
            share_with_children=name != WORKSHOP,
        )
    pools.pause(opened, actor=ACTOR, pool=REFUSING["pool_paused"])


def needs(keys_wanted: int, shares: Counter[str]) -> dict[str, int]:
    """Decide how many keys each pool gets.

    Raises:
        InvalidInputError: there are fewer keys than redemptions need.
    """
    good = shares["redeemed"]
    key_counts = {
        WORKSHOP: good // 5 + SPARE,
        FALL: good * 4 // 15 + SPARE,
        **{name: shares[outcome] for outcome, name in REFUSING.items()},
    }
    others = shares["raced"] + shares["already_assigned"] + shares["mistyped_key"]
    least = good + others + SPARE - good // 5 - good * 4 // 15
    key_counts[SPRING] = keys_wanted - sum(key_counts.values())
    if key_counts[SPRING] < least:
        raise InvalidInputError(
            f"So many redemptions need {sum(key_counts.values()) - key_counts[SPRING] + least:,} keys or more.",
            field="keys",
        )
    return key_counts


def type_and_paste(opened: Session, key_counts: dict[str, int]) -> list[ImportReport]:
    """Add some keys one by one and others as pasted text, and give the reports."""
    workshop = [f"WORKSHOP-{n:07}" for n in range(1, key_counts[WORKSHOP] + 1)]
    inputs = [(WORKSHOP, [code]) for code in workshop[:TYPED_KEYS]]
    inputs.append((WORKSHOP, workshop[TYPED_KEYS:] + SLIPS))
    for outcome, name in REFUSING.items():
        inputs.append((name, [f"{outcome.upper()}-{n:06}" for n in range(key_counts[name])]))
    return [
        keys.add_keys(opened, actor=ACTOR, pool=pool, codes=lines)
        for pool, lines in inputs
        if lines
    ]


def generate(opened: Session, key_counts: dict[str, int]) -> list[BatchShape]:
    """Start batches that generate the rest of the keys, and give them."""
    return [
        batches.generate(opened, actor=ACTOR, pool=pool, count=key_counts[pool])
        for pool in (SPRING, FALL)
    ]


def withdraw(opened: Session, key_counts: dict[str, int]) -> None:
    """Retire the keys of one pool."""
    pool = REFUSING["key_retired"]
    retiring.retire(opened, actor=ACTOR, codes=list(codes(pool, key_counts[pool])))


def hand_out(opened: Session, key_counts: dict[str, int]) -> None:
    """Distribute keys of the largest pool: orders of several sizes; the rest is left."""
    for name, recipient, reference, share in ORDERS:
        distributions.distribute(
            opened,
            actor=ACTOR,
            pool=SPRING,
            recipient=recipient,
            name=name,
            reference=reference,
            count=max(1, int(key_counts[SPRING] * share)),
        )


def stock(key_counts: dict[str, int], most: int) -> traffic.Stock:
    """Give keys to redeem, at `most` so many of the large pools, by the outcome that they lead to."""
    spring = codes(SPRING, most)
    return {
        "redeemed": spring,
        "already_assigned": spring,
        "mistyped_key": map(traffic.mistyped, spring),
        "unknown_key": traffic.unknown(),
        "workshop": codes(WORKSHOP, key_counts[WORKSHOP]),
        AMERICAS: codes(FALL, most),
        **{outcome: codes(name, key_counts[name]) for outcome, name in REFUSING.items()},
    }


def codes(pool: str, most: int) -> Iterator[str]:
    """Read a pool's first codes from its export."""
    with session(snapshot=True) as opened:
        blocks = exporting.export(opened, actor=ACTOR, pool=pool)
        lines = (line for block in blocks for line in io.StringIO(block.decode()))
        return iter([line["code"] for line in islice(csv.DictReader(lines), most)])


def _day(opened: Session, after: int) -> str:
    return f"{clock_now(opened) + timedelta(days=after):%Y-%m-%d}"
