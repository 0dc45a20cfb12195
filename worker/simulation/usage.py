"""Launches of the training under each assignment."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.simulation.grants import Grants, Marks, organization_of
from worker.simulation.seasons import DAY, NEVER, SECOND, Instants, Seasons
from worker.simulation.world import Indexes, World

UNUSED = 0.18  # of the assignments: never launched
RETAKES = 0.35
DAYS_UNTIL_LAUNCHED = 4.0
SPAN = 3 * DAY  # within which a launch is drawn
MINUTES = (45.0, 0.7)  # the median, and the spread of its logarithm
NEVER_ENDED, COMPLETED, SCORED = 0.06, 0.62, 0.7


@dataclass
class Launches:
    """One row a launch, in the order of time."""

    grant: Indexes
    at: Instants
    ended: Instants
    completed: Marks
    score: NDArray[np.float64]  # NaN where there is none


def draw(rng: np.random.Generator, seasons: Seasons, world: World, grants: Grants) -> Launches:
    """Draw launches while each assignment is valid; an undone one had none."""
    times = np.where(
        rng.random(len(grants.at)) < UNUSED, 0, 1 + rng.poisson(RETAKES, len(grants.at))
    )
    times[grants.undone] = 0
    grant = np.repeat(np.arange(len(times)), times)
    first = np.repeat(np.cumsum(times) - times, times) == np.arange(len(grant))
    until = np.where(grants.cancelled == NEVER, grants.expires, grants.cancelled)
    until = np.minimum(until, seasons.end)[grant]

    waited = rng.exponential(DAYS_UNTIL_LAUNCHED * np.where(first, 1, 8)) * DAY
    since = grants.at[grant] + 60 * SECOND + waited.astype(np.int64)
    grant, since, until = (column[since < until] for column in (grant, since, until))
    homes = np.array([organization.home for organization in world.organizations])
    zones = homes[organization_of(grants.person[grant])]
    at = seasons.draw(rng, since, np.minimum(since + SPAN, until), zones)
    # Drop the share of launches that would come after the assignment's end.
    came = rng.random(len(at)) * SPAN < until - since
    grant, at = grant[came], at[came]
    order = np.argsort(at, kind="stable")
    return _taken(rng, seasons, grant[order], at[order])


def _taken(rng: np.random.Generator, seasons: Seasons, grant: Indexes, at: Instants) -> Launches:
    number = len(at)
    minutes = rng.lognormal(np.log(MINUTES[0]), MINUTES[1], number)
    ended = at + (minutes * 60).astype(np.int64) * SECOND
    open_still = (rng.random(number) < NEVER_ENDED) | (ended >= seasons.end)
    completed = ~open_still & (rng.random(number) < COMPLETED)
    score = np.round(np.clip(rng.normal(78, 12, number), 0, 100), 1)
    scored = completed & (rng.random(number) < SCORED)
    return Launches(
        grant, at, np.where(open_still, NEVER, ended), completed, np.where(scored, score, np.nan)
    )
