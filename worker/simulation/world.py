"""The world before anything is redeemed: organizations, courses, prices and pools."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count

import numpy as np
from numpy.typing import NDArray

from worker import days
from worker.simulation.names import BRANCHES, COURSES, HOMES, TREES
from worker.simulation.seasons import DAY, NEVER, Instants, Seasons, microseconds, moment

Indexes = NDArray[np.int64]  # of organizations, pools, keys …; NEVER where there is none

BEFORE = 500 * DAY  # how long before the first redemption pools and courses were made
LENGTHS = (120, 180, 365, 365, 730)  # of a pool's window, in days
AVAILABILITY = (30, 60, 90, 180, 180, 365)
WORTH = {"EUR": 1.0, "USD": 1.1, "GBP": 0.85, "JPY": 160.0, "AUD": 1.65, "BRL": 6.0}
DEEPEST = 3
# The pools that every simulation has, as (starts, expires) in parts of the history: expired, paused,
# of an archived course, active and shared, scheduled.
CERTAIN = ((0.0, 0.5), (0.1, 1.2), (0.05, 1.3), (0.02, 1.5), (1.05, 1.9))
OVER, PAUSED, ARCHIVED, SHARED, SCHEDULED = range(len(CERTAIN))


@dataclass(frozen=True)
class Organization:
    """A tenant; `parent` is an index, None for the root of a tree."""

    name: str
    parent: int | None
    home: int
    weight: float
    made: int


@dataclass(frozen=True)
class Price:
    """A course's price for an organization (None: the list price) from an instant on."""

    course: int
    organization: int | None
    amount: Decimal
    currency: str
    since: int


@dataclass(frozen=True)
class Pool:
    """A pool; its keys are redeemed from `opens` to `closes`, within the simulated days."""

    name: str
    organization: int
    course: int
    made: int
    starts: int
    expires: int
    availability: int
    shared: bool
    paused: int
    generated: bool
    opens: int
    closes: int


@dataclass
class World:
    """Organizations, courses, prices and pools, by index; they get ids when they are loaded."""

    organizations: list[Organization]
    courses: list[tuple[str, str]]
    archived: int  # when the last course was archived
    prices: list[Price] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)

    def family(self, organization: int) -> list[int]:
        """Give an organization and its descendants, the organization first."""
        return [n for n in range(len(self.organizations)) if organization in self.ancestors(n)]

    def ancestors(self, organization: int) -> list[int]:
        """Give an organization and its ancestors, the nearest first."""
        ancestors, above = [organization], self.organizations[organization].parent
        while above is not None:
            ancestors.append(above)
            above = self.organizations[above].parent
        return ancestors

    def zone(self, organization: int) -> str:
        """Give an organization's time zone."""
        return HOMES[self.organizations[organization].home][0]

    def prices_of(self, pool: Pool) -> tuple[Instants, Indexes]:
        """Give the instants at which a pool's price changes, and the prices."""
        relevant = [
            [n for n, price in enumerate(self.prices)
             if (price.course, price.organization) == (pool.course, payer)]
            for payer in [*self.ancestors(pool.organization), None]
        ]  # fmt: skip
        changes = sorted({self.prices[n].since for level in relevant for n in level})
        in_force = [self._nearest(relevant, at) for at in changes]
        return np.array(changes, np.int64), np.array(in_force, np.int64)

    def _nearest(self, levels: list[list[int]], at: int) -> int:
        for level in levels:
            if begun := [n for n in level if self.prices[n].since <= at]:
                return max(begun, key=lambda n: self.prices[n].since)
        return NEVER


def draw(
    rng: np.random.Generator,
    seasons: Seasons,
    *,
    organizations: int,
    names_taken: set[str],
    codes_taken: set[str],
) -> World:
    """Draw a world. A number is added to names and codes that are taken already."""
    taught = min(len(COURSES), 5 + organizations // 3)
    world = World(
        organizations=list(_organizations(rng, seasons, organizations, names_taken)),
        courses=[(untaken(code, codes_taken), title) for code, title, _ in COURSES[-taught:]],
        archived=part(seasons, 0.75),
    )
    world.prices += _prices(rng, seasons, world)
    for organization in range(organizations):
        world.pools += _pools(rng, seasons, world, organization)
    return world


def untaken(name: str, taken: set[str]) -> str:
    """Give the name, or the first free one of `name 2`, `name 3` …, and mark it as taken."""
    free = next(
        candidate
        for candidate in (name if n == 1 else f"{name} {n}" for n in count(1))
        if candidate.lower() not in taken
    )
    taken.add(free.lower())
    return free


def _organizations(
    rng: np.random.Generator, seasons: Seasons, number: int, taken: set[str]
) -> Iterator[Organization]:
    made: list[tuple[Organization, int]] = []
    trees = 0
    for n in range(number):
        # The second is the first one's child and the third a stranger: every outcome needs them.
        grows = n == 1 or (n > 2 and rng.random() < 0.6)
        bearers = [i for i, (_, depth) in enumerate(made) if depth < DEEPEST]
        parent = 0 if n == 1 else int(rng.choice(bearers)) if grows else None
        if parent is None:
            name, home, depth = TREES[trees % len(TREES)], trees % len(HOMES), 1
            trees += 1
        else:
            above, depth = made[parent][0], made[parent][1] + 1
            name = f"{above.name.split()[0]} {BRANCHES[n % len(BRANCHES)]}"
            home = above.home
        weight = float(rng.lognormal(0, 0.7))
        made.append(
            (
                Organization(untaken(name, taken), parent, home, weight, seasons.begin - BEFORE),
                depth,
            )
        )
    return iter([organization for organization, _ in made])


def _prices(rng: np.random.Generator, seasons: Seasons, world: World) -> Iterator[Price]:
    since = seasons.begin - BEFORE
    listed = [worth for *_, worth in COURSES[-len(world.courses) :]]
    changes = range(since, seasons.end, 365 * DAY)
    for course, worth in enumerate(listed):
        for year, at in enumerate(changes):
            yield Price(course, None, _amount(worth * 1.04**year, "EUR"), "EUR", at)
    for n, organization in enumerate(world.organizations):
        currency = HOMES[organization.home][1]
        own = 0.1 if organization.parent is not None else 0.4 if currency == "EUR" else 1.0
        for course in np.flatnonzero(rng.random(len(listed)) < own).tolist():
            discount = float(rng.uniform(0.7, 1.0))
            for at in (since, part(seasons, float(rng.uniform(0.2, 0.9)))):
                rise = 1.0 if at == since else 1.05
                amount = _amount(listed[course] * WORTH[currency] * discount * rise, currency)
                yield Price(course, n, amount, currency, at)


def _amount(value: float, currency: str) -> Decimal:
    if currency == "JPY":
        return Decimal(round(value, -2)).quantize(Decimal(1))
    return Decimal(round(value)) - Decimal("0.10")


def _pools(
    rng: np.random.Generator, seasons: Seasons, world: World, organization: int
) -> Iterator[Pool]:
    taken: set[str] = set()
    for kind, (starts, expires) in enumerate(CERTAIN if organization == 0 else ()):
        window = part(seasons, starts), part(seasons, expires)
        yield _pool(rng, seasons, world, organization, window, taken, kind)
    for _ in range(int(1 + rng.poisson(2))):
        length = int(rng.choice(LENGTHS)) * DAY
        starts_at = int(rng.integers(seasons.begin - length // 2, seasons.end - 5 * DAY))
        window = starts_at, starts_at + length
        yield _pool(rng, seasons, world, organization, window, taken)


def _pool(
    rng: np.random.Generator,
    seasons: Seasons,
    world: World,
    organization: int,
    window: tuple[int, int],
    taken: set[str],
    kind: int | None = None,
) -> Pool:
    newest = len(world.courses) - 1  # the last is the one that is archived
    course = newest if kind == ARCHIVED else int(rng.integers(newest))
    starts = _midnight(window[0], world.zone(organization))
    return place(
        seasons,
        world,
        name=untaken(f"{world.courses[course][0]} {moment(starts + DAY):%B %Y}", taken),
        organization=organization,
        course=course,
        window=window,
        made=min(starts, seasons.end) - int(rng.integers(5, 40)) * DAY,
        availability=int(rng.choice(AVAILABILITY)),
        shared=kind == SHARED or (len(world.family(organization)) > 1 and rng.random() < 0.7),
        paused=part(seasons, 0.9) if kind == PAUSED else NEVER,
        generated=kind is not None or rng.random() < 0.85,
    )


def place(
    seasons: Seasons,
    world: World,
    *,
    name: str,
    organization: int,
    course: int,
    window: tuple[int, int],
    made: int,
    availability: int,
    shared: bool = True,
    paused: int = NEVER,
    generated: bool = True,
) -> Pool:
    """Make a pool whose window begins and ends with days of its owner's zone."""
    starts, expires = (_midnight(at, world.zone(organization)) for at in window)
    archived = world.archived if course == len(world.courses) - 1 else NEVER
    halts = [halt for halt in (paused, archived) if halt != NEVER]
    return Pool(
        name=name,
        organization=organization,
        course=course,
        made=made,
        starts=starts,
        expires=expires,
        availability=availability,
        shared=shared,
        paused=paused,
        generated=generated,
        opens=max(starts, seasons.begin),
        closes=min([expires, seasons.end, *halts]),
    )


def _midnight(at: int, zone: str) -> int:
    return microseconds(days.day_start(moment(at).date(), zone))


def part(seasons: Seasons, share: float) -> int:
    """Give the midnight (UTC) at a share of the simulated days."""
    at = seasons.begin + int((seasons.end - seasons.begin) * share)
    return at - at % DAY
