"""Charges of redemptions and extensions, and their credits."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from worker.simulation.grants import Grants
from worker.simulation.seasons import DAY, NEVER, Instants, Seasons
from worker.simulation.world import Indexes, World

REDEMPTION, EXTENSION, CREDIT = range(3)
REASONS = (None, "Cancelled within 24 hours", "Disputed by the customer")
DISPUTED = 0.001  # of the charges: half of the amount is credited
# In parts of a price: the charge of a redemption and of an extension, and their credits.
PARTS = (Decimal(1), Decimal("0.2"), Decimal(-1), Decimal("-0.5"))
WHOLE, EXTENDED, UNDONE, HALVED = range(len(PARTS))


@dataclass
class Charges:
    """One row a charge in the order of time, then the credits. `amount` is an index."""

    grant: Indexes
    kind: Indexes
    at: Instants
    amount: Indexes
    credits: Indexes
    reason: Indexes
    amounts: list[str]
    currencies: list[str]
    reasons: tuple[str | None, ...] = REASONS

    @property
    def charged(self) -> int:
        """How many rows are charges; the others are credits."""
        return int((self.credits == NEVER).sum())

    def __len__(self) -> int:
        return len(self.grant)


def draw(rng: np.random.Generator, seasons: Seasons, world: World, grants: Grants) -> Charges:
    """Charge every grant at the price in force (B1), and extensions; credit some."""
    price = _prices(world, grants)
    extended = np.flatnonzero(grants.extended != NEVER)
    grant = np.concatenate([np.arange(len(grants.at)), extended])
    part = np.repeat([WHOLE, EXTENDED], [len(grants.at), len(extended)])
    at = np.concatenate([grants.at, grants.extended[extended]])
    order = np.argsort(at, kind="stable")
    grant, part, at = grant[order], part[order], at[order]

    undone = np.flatnonzero((part == WHOLE) & grants.undone[grant])
    disputed = np.flatnonzero(
        (rng.random(len(at)) < DISPUTED) & (part == WHOLE) & ~grants.undone[grant]
    )
    settled = at[disputed] + rng.integers(DAY, 40 * DAY, len(disputed))
    disputed, settled = disputed[settled < seasons.end], settled[settled < seasons.end]
    credited = np.concatenate([undone, disputed])
    reason = np.repeat([0, 1, 2], [len(at), len(undone), len(disputed)])
    charged = np.concatenate([part, np.repeat([UNDONE, HALVED], [len(undone), len(disputed)])])
    of_grant = np.concatenate([grant, grant[credited]])
    return Charges(
        grant=of_grant,
        kind=np.array([REDEMPTION, EXTENSION, CREDIT, CREDIT])[charged],
        at=np.concatenate([at, grants.cancelled[grant[undone]], settled]),
        amount=price[of_grant] * len(PARTS) + charged,
        credits=np.concatenate([np.full(len(at), NEVER), credited]),
        reason=reason,
        amounts=[_part_of(p.amount, part) for p in world.prices for part in PARTS],
        currencies=[p.currency for p in world.prices for _ in PARTS],
    )


def _prices(world: World, grants: Grants) -> Indexes:
    price = np.full(len(grants.at), NEVER)
    by_pool = np.argsort(grants.pool, kind="stable")
    ends = np.searchsorted(grants.pool[by_pool], np.arange(len(world.pools) + 1))
    for number, pool in enumerate(world.pools):
        rows = by_pool[ends[number] : ends[number + 1]]
        changes, in_force = world.prices_of(pool)
        price[rows] = in_force[np.searchsorted(changes, grants.at[rows], side="right") - 1]
    return price


def _part_of(amount: Decimal, part: Decimal) -> str:
    return str((amount * part).quantize(amount))
