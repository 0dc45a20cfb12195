"""The year before the demo's day, simulated: its organizations, courses, prices and older pools."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy.orm import Session

from worker import simulation
from worker.simulation.names import HOMES
from worker.simulation.seasons import DAY, Seasons, moment
from worker.simulation.world import BEFORE, Organization, Pool, Price, World, part, place

MONTHS = 12
# So many redemptions for each webhook of the demo's day, and how many at least and at most.
FOR_EACH, FEWEST, MOST = 8, 6_000, 16_000

ACADEMY, NORDIC, AMERICAS = "Harbour Academy", "Harbour Nordic", "Harbour Americas"
RIDGEWAY = "Ridgeway Training"
# Each organization's parent, time zone, and how busy it is.
ORGANIZATIONS = {
    ACADEMY: (None, "Europe/Berlin", 1.5),
    NORDIC: (ACADEMY, "Europe/Stockholm", 0.5),
    AMERICAS: (ACADEMY, "America/New_York", 1.0),
    RIDGEWAY: (None, "Europe/London", 0.6),
}
# The last is archived within the year.
COURSES = {
    "K8S-101": "Kubernetes in practice",
    "SQL-201": "SQL for analysts",
    "PY-100": "Python from the start",
    "SEC-210": "Securing web applications",
    "K8S-100": "Kubernetes in practice, first edition",
}
# Prices by course, organization (None: the list price) and the share of the year from which they hold.
PRICES = [
    ("K8S-101", None, "47.50", "EUR", None),
    ("K8S-101", None, "49.90", "EUR", 0.5),
    ("K8S-101", AMERICAS, "52.00", "USD", None),
    ("K8S-101", AMERICAS, "45.00", "USD", 0.6),
    ("SQL-201", None, "29.00", "EUR", None),
    ("SQL-201", RIDGEWAY, "26.00", "GBP", None),
    ("PY-100", None, "39.00", "EUR", None),
    ("PY-100", AMERICAS, "42.00", "USD", None),
    ("PY-100", RIDGEWAY, "34.00", "GBP", None),
    ("SEC-210", None, "89.00", "EUR", None),
    ("K8S-100", None, "44.90", "EUR", None),
]
# Pools by owner and course, with their windows in shares of the year, and their days of access.
POOLS = [
    (ACADEMY, "K8S-101", -0.2, 0.4, 180),
    (ACADEMY, "K8S-101", 0.35, 1.2, 180),
    (ACADEMY, "SQL-201", 0.0, 0.6, 90),
    (ACADEMY, "SQL-201", 0.55, 1.3, 90),
    (ACADEMY, "SEC-210", 0.15, 0.7, 60),
    (ACADEMY, "PY-100", 0.1, 0.7, 60),
    (ACADEMY, "K8S-100", -0.4, 1.05, 180),
    (ACADEMY, "SEC-210", 1.08, 1.9, 60),
    (AMERICAS, "K8S-101", 0.05, 0.65, 180),
    (AMERICAS, "K8S-101", 0.6, 1.4, 180),
    (AMERICAS, "PY-100", 0.35, 1.25, 90),
    (RIDGEWAY, "SQL-201", -0.1, 0.8, 30),
    (RIDGEWAY, "PY-100", 0.1, 0.6, 90),
]
ARCHIVED = 0.3
SEED = 7


def live_through(session: Session, webhooks: int) -> dict[str, int]:
    """Make the organizations with a year of history, in keeping with so many webhooks, and count the rows."""
    number = min(max(webhooks * FOR_EACH, FEWEST), MOST)
    return simulation.relive(session, draw, months=MONTHS, redemptions=number, seed=SEED)


def last_whole_day(now: datetime) -> date:
    """Give the day before today, where today began last: the demo's own redemptions are all later."""
    todays = [now.astimezone(ZoneInfo(zone)).date() for _, zone, _ in ORGANIZATIONS.values()]
    return min(todays) - timedelta(days=1)


def draw(_rng: np.random.Generator, seasons: Seasons) -> World:
    """Give the world before the day: nothing of it is left to chance."""
    names, made = list(ORGANIZATIONS), seasons.begin - BEFORE
    zones = [zone for zone, _, _ in HOMES]
    world = World(
        organizations=[
            Organization(name, names.index(above) if above else None, zones.index(zone), busy, made)
            for name, (above, zone, busy) in ORGANIZATIONS.items()
        ],
        courses=list(COURSES.items()),
        archived=part(seasons, ARCHIVED),
    )
    world.prices += _prices(seasons)
    world.pools += _pools(seasons, world)
    return world


def _prices(seasons: Seasons) -> Iterator[Price]:
    courses, names = list(COURSES), list(ORGANIZATIONS)
    for code, payer, amount, currency, share in PRICES:
        since = seasons.begin - BEFORE if share is None else part(seasons, share)
        yield Price(
            courses.index(code),
            None if payer is None else names.index(payer),
            Decimal(amount),
            currency,
            since,
        )


def _pools(seasons: Seasons, world: World) -> Iterator[Pool]:
    courses, names = list(COURSES), list(ORGANIZATIONS)
    for owner, code, starts, expires, access in POOLS:
        window = part(seasons, starts), part(seasons, expires)
        yield place(
            seasons,
            world,
            name=f"{code} {moment(window[0] + DAY):%B %Y}",
            organization=names.index(owner),
            course=courses.index(code),
            window=window,
            made=min(window[0], seasons.end) - 14 * DAY,
            availability=access,
        )
