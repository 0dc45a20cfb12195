"""The keys of every pool: when they were made, distributed and redeemed."""

from dataclasses import dataclass

import numpy as np

from worker.simulation.grants import Grants, Marks
from worker.simulation.seasons import DAY, HOUR, NEVER, Instants, Seasons
from worker.simulation.world import Indexes, World

ISSUED, REDEEMED, RETIRED = range(3)

HANDED_OUT = (0.9, 0.45)  # of the keys that are redeemed, and of the others
DAYS_UNTIL_REDEEMED = (9.0, 1.2)  # from distribution: the median, and the spread of its logarithm
KEYS_A_RECIPIENT = (1.0, 1.0, 0.25, 0.1, 0.04)  # pools differ: one each, or boxes of 25
RECALLED, RETIRED_BY_HAND = 0.02, 0.015
LONGEST_ORDER = 14 * DAY  # within which further keys go to the same recipient


@dataclass
class Stock:
    """One row a key, in the order in which they were made; and one a distribution."""

    pool: Indexes
    made: Instants
    state: Indexes
    distribution: Indexes
    spare: Marks  # never redeemed by anybody
    handed_out: Instants  # a distribution's
    recalled: Instants
    distributed_from: Indexes  # a distribution's pool
    of_grant: Indexes  # each grant's key


def draw(rng: np.random.Generator, seasons: Seasons, world: World, grants: Grants) -> Stock:
    """Draw the keys that were redeemed by the grants, and those that were not."""
    fresh = np.flatnonzero(grants.repeats == NEVER)
    spare_pool = np.repeat(np.arange(len(world.pools)), _spares(rng, world, grants, fresh))
    pool = np.concatenate([grants.pool[fresh], spare_pool])
    spare = np.arange(len(pool)) >= len(fresh)
    needed = np.concatenate([grants.at[fresh], _whenever(rng, seasons, world, spare_pool)])

    distribution, handed_out, distributed_from = _distribute(rng, world, pool, needed, spare)
    known = np.where(distribution == NEVER, needed, handed_out[distribution])
    made = _made(rng, world, pool, known)

    order = np.argsort(made, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    stock = Stock(
        pool=pool[order],
        made=made[order],
        state=np.full(len(order), ISSUED),
        distribution=distribution[order],
        spare=spare[order],
        handed_out=handed_out,
        recalled=np.full(len(handed_out), NEVER),
        distributed_from=distributed_from,
        of_grant=_keys_of(grants, fresh, place),
    )
    _recall(rng, seasons, grants, stock)
    _become(rng, grants, stock)
    return stock


def _column(world: World, name: str) -> Instants:
    return np.array([getattr(pool, name) for pool in world.pools], np.int64)


def _spares(rng: np.random.Generator, world: World, grants: Grants, fresh: Indexes) -> Indexes:
    spent = np.bincount(grants.pool[fresh], minlength=len(world.pools))
    over = _column(world, "expires") < _column(world, "closes").max()
    usual = len(fresh) / len(world.pools)
    ratio = np.where(over, rng.uniform(0.1, 0.6, len(over)), rng.uniform(0.3, 1.5, len(over)))
    return (5 + np.maximum(spent, usual * 0.1) * ratio).astype(np.int64)


def _whenever(rng: np.random.Generator, seasons: Seasons, world: World, pool: Indexes) -> Instants:
    """Draw a time in each pool's life by which an unredeemed key exists."""
    until = np.minimum(_column(world, "expires"), seasons.end)[pool]
    return rng.integers(_column(world, "made")[pool] + 2 * HOUR, until)


def _distribute(
    rng: np.random.Generator, world: World, pool: Indexes, needed: Instants, spare: Marks
) -> tuple[Indexes, Instants, Indexes]:
    median, spread = DAYS_UNTIL_REDEEMED
    waited = (rng.lognormal(np.log(median), spread, len(pool)) * DAY).astype(np.int64)
    at = np.maximum(_column(world, "made")[pool] + HOUR, needed - np.where(spare, 0, waited))
    handed = np.flatnonzero(rng.random(len(pool)) < np.where(spare, HANDED_OUT[1], HANDED_OUT[0]))
    handed = handed[np.lexsort((at[handed], pool[handed]))]

    style = rng.choice(KEYS_A_RECIPIENT, len(world.pools))[pool[handed]]
    begins = rng.random(len(handed)) < style
    begins[1:] |= np.diff(pool[handed]) != 0
    begins[1:] |= np.diff(at[handed]) > LONGEST_ORDER
    begins[:1] = True
    distribution = np.full(len(pool), NEVER)
    distribution[handed] = np.cumsum(begins) - 1
    firsts = handed[begins]
    return distribution, at[firsts], pool[firsts]


def _made(rng: np.random.Generator, world: World, pool: Indexes, known: Instants) -> Instants:
    """Give when a key's batch was made: the last batch before the key is first needed."""
    first = _column(world, "made")[pool]
    pause = rng.integers(20, 90, len(world.pools))[pool] * DAY
    return first + (known - first) // pause * pause


def _keys_of(grants: Grants, fresh: Indexes, place: Indexes) -> Indexes:
    key = np.full(len(grants.at), NEVER)
    key[fresh] = place[: len(fresh)]
    for again in np.flatnonzero(grants.repeats != NEVER):  # in the order of time, so chains hold
        key[again] = key[grants.repeats[again]]
    return key


def _recall(rng: np.random.Generator, seasons: Seasons, grants: Grants, stock: Stock) -> None:
    last = stock.handed_out.copy()
    spent_from = stock.distribution[stock.of_grant]
    np.maximum.at(last, spent_from[spent_from != NEVER], grants.at[spent_from != NEVER])
    when = last + rng.integers(DAY, 30 * DAY, len(last))
    recalled = (rng.random(len(last)) < RECALLED) & (when < seasons.end)
    stock.recalled[recalled] = when[recalled]


def _become(rng: np.random.Generator, grants: Grants, stock: Stock) -> None:
    kept = np.where(grants.given_back, ISSUED, RETIRED)
    # In the order of time: a key's last grant decides.
    stock.state[stock.of_grant] = np.where(grants.cancelled == NEVER, REDEEMED, kept)
    gone = (
        stock.spare
        & (stock.distribution == NEVER)
        & (rng.random(len(stock.state)) < RETIRED_BY_HAND)
    )
    recalled = (stock.distribution != NEVER) & (stock.recalled[stock.distribution] != NEVER)
    stock.state[(stock.state == ISSUED) & (recalled | gone)] = RETIRED
