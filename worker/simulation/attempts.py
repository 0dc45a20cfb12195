"""Every attempt on a key, the refused ones too."""

from dataclasses import dataclass

import numpy as np

from worker.simulation.grants import WITHIN, Grants, Marks
from worker.simulation.seasons import DAY, NEVER, SECOND, Instants, Seasons
from worker.simulation.stock import ISSUED, RETIRED, Stock
from worker.simulation.world import Indexes, World

# The refused outcomes, in per cent of all attempts; the others are granted.
SHARES = {
    "already_yours": 2.0,
    "mistyped_key": 1.3,
    "unknown_key": 0.9,
    "already_redeemed": 1.2,
    "key_retired": 0.2,
    "not_available_to_organization": 0.3,
    "course_archived": 0.15,
    "pool_paused": 0.15,
    "pool_not_started": 0.2,
    "pool_expired": 0.6,
    "already_assigned": 0.5,
}
OUTCOMES = ("redeemed", *SHARES)
FEW = 100  # attempts: with fewer, not every outcome occurs


@dataclass
class Attempts:
    """One row a redemption.requested event, in the order of time."""

    at: Instants
    outcome: Indexes  # of OUTCOMES
    key: Indexes
    pool: Indexes
    person: Indexes
    grant: Indexes  # the assignment that it gave, or that the learner had already

    def __len__(self) -> int:
        return len(self.at)


def refused(number: int) -> dict[str, int]:
    """Say how many of `attempts` have each outcome other than redeemed."""
    least = 1 if number >= FEW else 0
    return {name: max(least, round(number * share / 100)) for name, share in SHARES.items()}


def draw(
    rng: np.random.Generator,
    seasons: Seasons,
    world: World,
    grants: Grants,
    stock: Stock,
    number: int,
) -> Attempts:
    """Draw the refused attempts, and merge them with the granted ones, `count` in all."""
    drawing = _Refusals(rng, seasons, world, grants, stock)
    parts = [_granted(grants, stock)]
    for outcome, share in refused(number).items():
        attempts = getattr(drawing, outcome)(share) if len(grants.at) else _none()
        attempts.outcome[:] = OUTCOMES.index(outcome)
        parts.append(attempts)
    missing = number - sum(map(len, parts))
    unknown = drawing.unknown_key(missing)
    unknown.outcome[:] = OUTCOMES.index("unknown_key")
    return _sorted([*parts, unknown])


def _granted(grants: Grants, stock: Stock) -> Attempts:
    number = np.arange(len(grants.at))
    outcome = np.zeros(len(number), np.int64)
    return Attempts(grants.at, outcome, stock.of_grant, grants.pool, grants.person, number)


def _sorted(parts: list[Attempts]) -> Attempts:
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in Attempts.__dataclass_fields__
    }
    order = np.argsort(columns["at"], kind="stable")
    return Attempts(**{name: column[order] for name, column in columns.items()})


class _Refusals:
    """Draws refused attempts; each method draws up to so many of one outcome."""

    def __init__(
        self,
        rng: np.random.Generator,
        seasons: Seasons,
        world: World,
        grants: Grants,
        stock: Stock,
    ) -> None:
        self.rng, self.seasons, self.world = rng, seasons, world
        self.grants, self.stock = grants, stock
        self.spare = stock.spare & (stock.state == ISSUED)
        self.starts, self.expires, self.paused, self.closes, self.owner = (
            np.array([getattr(pool, name) for pool in world.pools], np.int64)
            for name in ("starts", "expires", "paused", "closes", "organization")
        )
        newest = len(world.courses) - 1
        self.archived = np.array([pool.course == newest for pool in world.pools])
        self.halted = self.archived | (self.paused != NEVER)
        # The grants that were not cancelled, whose keys stay redeemed.
        last = np.full(len(stock.pool), NEVER)
        last[stock.of_grant] = np.arange(len(grants.at))
        self.kept = np.flatnonzero(
            (grants.cancelled == NEVER) & (last[stock.of_grant] == np.arange(len(grants.at)))
        )

    def already_yours(self, number: int) -> Attempts:
        grant = self._some(self.kept, number)
        at = self.grants.at[grant] + self._later(grant, 5)
        person = self.grants.person[grant]
        return self._attempts(at, self.stock.of_grant[grant], person, grant)

    def already_redeemed(self, number: int) -> Attempts:
        grant = self._some(self.kept, number)
        at = self.grants.at[grant] + self._later(grant, 20)
        person = self.grants.person[grant] + (1 << 20)  # somebody of the same organization
        return self._attempts(at, self.stock.of_grant[grant], person)

    def key_retired(self, number: int) -> Attempts:
        retired = self.stock.spare & (self.stock.state == RETIRED)
        key = self._some(np.flatnonzero(retired), number)
        recalled = np.append(self.stock.recalled, NEVER)[self.stock.distribution[key]]
        since = np.maximum(np.maximum(recalled, self.stock.made[key]), self.seasons.begin)
        return self._on_spares(key, since, np.full(len(key), self.seasons.end))

    def not_available_to_organization(self, number: int) -> Attempts:
        key = self._some(np.flatnonzero(self.spare), number)
        allowed = [self._allowed(n) for n in range(len(self.world.pools))]
        everybody = set(range(len(self.world.organizations)))
        strangers = [sorted(everybody - these) for these in allowed]
        key = key[[bool(strangers[pool]) for pool in self.stock.pool[key]]]
        home = [int(self.rng.choice(strangers[pool])) for pool in self.stock.pool[key]]
        since = np.maximum(self.stock.made[key], self.seasons.begin)
        return self._on_spares(key, since, np.full(len(key), self.seasons.end), home)

    def course_archived(self, number: int) -> Attempts:
        key = self._some(np.flatnonzero(self.spare & self.archived[self.stock.pool]), number)
        return self._on_spares(
            key, np.full(len(key), self.world.archived), np.full(len(key), self.seasons.end)
        )

    def pool_paused(self, number: int) -> Attempts:
        paused = (self.paused != NEVER) & ~self.archived
        key = self._some(np.flatnonzero(self.spare & paused[self.stock.pool]), number)
        since = np.maximum(self.paused[self.stock.pool[key]], self.stock.made[key])
        return self._on_spares(key, since, np.full(len(key), self.seasons.end))

    def pool_not_started(self, number: int) -> Attempts:
        since = np.maximum(self.stock.made, self.seasons.begin)
        until = np.minimum(self.starts[self.stock.pool], self.seasons.end)
        key = self._some(np.flatnonzero(self.spare & (since < until)), number)
        return self._on_spares(key, since[key], until[key])

    def pool_expired(self, number: int) -> Attempts:
        over = (self.expires < self.seasons.end) & ~self.halted
        key = self._some(np.flatnonzero(self.spare & over[self.stock.pool]), number)
        since = self.expires[self.stock.pool[key]]
        until = np.minimum(since + 60 * DAY, self.seasons.end)
        return self._on_spares(key, np.maximum(since, self.seasons.begin), until)

    def already_assigned(self, number: int) -> Attempts:
        spares = np.flatnonzero(self.spare)
        spares = spares[np.argsort(self.stock.pool[spares], kind="stable")]
        live = self.kept[~self.halted[self.grants.pool[self.kept]]]
        grant = self._some(live, number)
        pool = self.grants.pool[grant]
        low, high = (
            np.searchsorted(self.stock.pool[spares], pool, side) for side in ("left", "right")
        )
        grant, low, high = (column[low < high] for column in (grant, low, high))
        key = spares[self.rng.integers(low, high)] if len(grant) else grant
        since = np.maximum(self.grants.at[grant], self.stock.made[key])
        until = np.minimum(self.grants.expires[grant], self.closes[self.grants.pool[grant]])
        fits = since + SECOND < until
        grant, key, since, until = (column[fits] for column in (grant, key, since, until))
        at = self.rng.integers(since + SECOND, until)
        return self._attempts(at, key, self.grants.person[grant])

    def unknown_key(self, number: int) -> Attempts:
        # Mistyped, minutes before it was typed right.
        grant = self._some(np.arange(len(self.grants.at)), number)
        if not len(grant):
            return self._attempts(
                np.full(number, self.seasons.begin),
                np.full(number, NEVER),
                np.zeros(number, np.int64),
            )
        at = self.grants.at[grant] - self.rng.integers(10 * SECOND, 1800 * SECOND, len(grant))
        at = np.maximum(at, self.seasons.begin)
        return self._attempts(at, np.full(len(grant), NEVER), self.grants.person[grant])

    mistyped_key = unknown_key

    def _on_spares(
        self, key: Indexes, since: Instants, until: Instants, home: list[int] | None = None
    ) -> Attempts:
        fits = since < until
        home_of = np.array(home, np.int64) if home is not None else self.owner[self.stock.pool[key]]
        key, since, until, home_of = (column[fits] for column in (key, since, until, home_of))
        person = (home_of << WITHIN) + self.rng.integers(0, 1 << 20, len(key))
        return self._attempts(self.rng.integers(since, until), key, person)

    def _attempts(
        self, at: Instants, key: Indexes, person: Indexes, grant: Indexes | None = None
    ) -> Attempts:
        had = np.full(len(at), NEVER) if grant is None else grant
        pool = np.where(key == NEVER, NEVER, self.stock.pool[key])
        attempts = Attempts(at, np.zeros(len(at), np.int64), key, pool, person, had)
        return _only(attempts, at < self.seasons.end)

    def _some(self, candidates: Indexes, number: int) -> Indexes:
        return self.rng.choice(candidates, number) if len(candidates) else candidates

    def _later(self, grant: Indexes, days: int) -> Instants:
        return 60 * SECOND + (self.rng.exponential(days, len(grant)) * DAY).astype(np.int64)

    def _allowed(self, pool: int) -> set[int]:
        owner = self.world.pools[pool].organization
        return set(self.world.family(owner)) if self.world.pools[pool].shared else {owner}


def _only(attempts: Attempts, rows: Marks) -> Attempts:
    return Attempts(
        **{name: getattr(attempts, name)[rows] for name in Attempts.__dataclass_fields__}
    )


def _none() -> Attempts:
    empty = np.empty(0, np.int64)
    return Attempts(empty, empty, empty, empty, empty, empty)
