"""Granted redemptions: who redeemed a key of which pool and when, and how the assignment went on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.simulation.seasons import DAY, HOUR, NEVER, SECOND, Instants, Seasons
from worker.simulation.world import Indexes, World

Marks = NDArray[np.bool_]

OWN_LEARNERS = 0.45  # of a shared pool's redemptions; the others are the descendants'
RETURNING = 0.08  # learners who take the course again after their access ended
UNDONE, CANCELLED, EXTENDED = 0.012, 0.008, 0.01
GIVEN_BACK = 0.7  # of the keys of undone assignments: issued again; the others are retired
SPENT_AGAIN = 0.5  # of the keys issued again: redeemed again
EXTENSION = 30 * DAY
# A person is one number: the organization's index, then the person's index within it.
WITHIN = 32


@dataclass
class Grants:
    """One row a granted redemption, in the order of time."""

    pool: Indexes
    person: Indexes
    at: Instants
    expires: Instants
    cancelled: Instants
    undone: Marks
    given_back: Marks
    extended: Instants
    repeats: Indexes  # the earlier grant whose key was issued again and redeemed by this one


def organization_of(person: Indexes) -> Indexes:
    """Give the index of each person's organization."""
    return person >> WITHIN


def draw(rng: np.random.Generator, seasons: Seasons, world: World, number: int) -> Grants:
    """Draw so many grants that break no rule: one live assignment per learner and course."""
    pool, organization, at = _redemptions(rng, seasons, world, number)
    course = np.array([p.course for p in world.pools])[pool]
    expires = at + DAY * np.array([p.availability for p in world.pools])[pool]
    person, returned = _people(rng, organization, course, at, expires)
    cancelled, undone = _cancellations(rng, seasons, at, expires)
    extended = _extensions(rng, seasons, at, expires, (cancelled == NEVER) & ~returned)
    given_back = undone & (rng.random(number) < GIVEN_BACK)
    return Grants(
        pool=pool,
        person=person,
        at=at,
        expires=np.where(extended == NEVER, expires, expires + EXTENSION),
        cancelled=cancelled,
        undone=undone,
        given_back=given_back,
        extended=extended,
        repeats=_repeats(rng, pool, at, cancelled, given_back),
    )


def groups(*columns: Indexes) -> list[Indexes]:
    """Group the rows that are equal in the first columns, each group sorted by the last column."""
    order = np.lexsort(columns[::-1])
    alike = np.stack([column[order] for column in columns[:-1]])
    cuts = 1 + np.flatnonzero((alike[:, 1:] != alike[:, :-1]).any(axis=0))
    return np.split(order, cuts) if len(order) else []


def _redemptions(
    rng: np.random.Generator, seasons: Seasons, world: World, number: int
) -> tuple[Indexes, Indexes, Instants]:
    opens, closes = (
        np.array([getattr(p, end) for p in world.pools]) for end in ("opens", "closes")
    )
    owners = [world.organizations[p.organization] for p in world.pools]
    chance = seasons.busyness(opens, closes) * [owner.weight for owner in owners]
    chance *= rng.lognormal(0, 0.5, len(chance))
    spread = rng.multinomial(number, chance / chance.sum())
    pool = np.repeat(np.arange(len(spread)), spread)
    homes = np.array([owner.home for owner in owners])
    at = seasons.draw(rng, opens[pool], closes[pool], homes[pool])
    takers = [_takers(rng, world, n, size) for n, size in enumerate(spread)]
    order = np.argsort(at, kind="stable")
    return pool[order], np.concatenate(takers)[order], at[order]


def _takers(rng: np.random.Generator, world: World, pool: int, number: int) -> Indexes:
    owner, shared = world.pools[pool].organization, world.pools[pool].shared
    family = world.family(owner) if shared else [owner]
    others = len(family) - 1
    chance = [OWN_LEARNERS] + [(1 - OWN_LEARNERS) / others] * others if others else [1.0]
    return rng.choice(family, size=number, p=chance).astype(np.int64)


def _people(
    rng: np.random.Generator,
    organization: Indexes,
    course: Indexes,
    at: Instants,
    expires: Instants,
) -> tuple[Indexes, Marks]:
    person = np.empty(len(at), np.int64)
    returned = np.zeros(len(at), bool)
    classes = groups(organization, course, at)
    largest: dict[int, int] = {}
    for rows in classes:
        home = int(organization[rows[0]])
        largest[home] = max(largest.get(home, 0), len(rows))
    for rows in classes:
        home = int(organization[rows[0]])
        number = rng.permutation(largest[home] * 6 // 5 + 5)[: len(rows)]
        again, before = _returns(rng, at[rows], expires[rows])
        number[again] = number[before]
        returned[rows[before]] = True
        person[rows] = (home << WITHIN) + number
    return person, returned


def _returns(rng: np.random.Generator, at: Instants, expires: Instants) -> tuple[Indexes, Indexes]:
    """Pair rows with earlier ones that had ended by then, so that a learner takes a course again."""
    before = np.flatnonzero(rng.random(len(at)) < RETURNING)
    soonest = np.searchsorted(at, expires[before])
    again = soonest + rng.integers(0, 1 + (len(at) - soonest) // 4)
    fits = (again < len(at)) & ~np.isin(again, before)
    again, first = np.unique(again[fits], return_index=True)
    return again, before[fits][first]


def _cancellations(
    rng: np.random.Generator, seasons: Seasons, at: Instants, expires: Instants
) -> tuple[Instants, Marks]:
    dice = rng.random(len(at))
    soon = at + rng.integers(300 * SECOND, 23 * HOUR, len(at))
    undone = (dice < UNDONE) & (soon < seasons.end)
    earliest, latest = at + 25 * HOUR, np.minimum(expires, seasons.end)
    late = (dice >= UNDONE) & (dice < UNDONE + CANCELLED) & (earliest < latest)
    later = rng.integers(earliest, np.maximum(latest, earliest + 1))
    return np.where(undone, soon, np.where(late, later, NEVER)), undone


def _extensions(
    rng: np.random.Generator, seasons: Seasons, at: Instants, expires: Instants, free: Marks
) -> Instants:
    when = expires - rng.integers(HOUR, 5 * DAY, len(at))
    extended = free & (rng.random(len(at)) < EXTENDED) & (when < seasons.end)
    return np.where(extended, when, NEVER)


def _repeats(
    rng: np.random.Generator, pool: Indexes, at: Instants, cancelled: Instants, given_back: Marks
) -> Indexes:
    repeats = np.full(len(at), NEVER)
    again = given_back & (rng.random(len(at)) < SPENT_AGAIN)
    for rows in groups(pool, at):
        before = rows[again[rows]]
        after = np.searchsorted(at[rows], cancelled[before], side="right")
        before, after = before[after < len(rows)], after[after < len(rows)]
        after, first = np.unique(after, return_index=True)
        repeats[rows[after]] = before[first]
    return repeats
