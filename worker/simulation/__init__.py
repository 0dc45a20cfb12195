"""Years of realistic history, drawn with numpy and loaded by COPY.

The history obeys every rule of the live system: an outcome is the first that holds, a key is
redeemed once, a learner has one live assignment per course, a charge is the price in force.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from worker import errors
from worker.database.connections import clock_now
from worker.simulation import attempts, grants, ledger, paying, stock, usage, world
from worker.simulation.loading import Loading
from worker.simulation.names import HOMES
from worker.simulation.seasons import Seasons
from worker.tables.catalogue import Course
from worker.tables.tenancy import Organization
from worker.tenancy import history
from worker.tenancy.actors import Actor

ACTOR = "keypool simulate"
MAX_MONTHS = 240  # months

Draw = Callable[[np.random.Generator, Seasons], world.World]


def simulate(
    session: Session,
    *,
    organizations: int,
    months: int,
    redemptions: int,
    seed: int = 0,
    now: datetime | None = None,
) -> dict[str, int]:
    """Add organizations with years of history, up to last midnight (UTC), and count the rows.

    `redemptions` is the number of attempts; some are refused. The same seed gives the same history on
    databases with the same contents, on the same day. Tables are locked against other writers until
    the transaction ends. Launches have no inbox events, and events have no bodies.

    Raises:
        InvalidInputError: a number is out of range.
    """
    _check(organizations, months, redemptions, seed)

    def draw(rng: np.random.Generator, seasons: Seasons) -> world.World:
        return world.draw(
            rng,
            seasons,
            organizations=organizations,
            names_taken=set(session.scalars(select(func.lower(Organization.name)))),
            codes_taken=set(session.scalars(select(func.lower(Course.code)))),
        )

    copied = relive(session, draw, months=months, redemptions=redemptions, seed=seed, now=now)
    _remember(
        session, organizations=organizations, months=months, redemptions=redemptions, seed=seed
    )
    return copied


def relive(
    session: Session,
    draw: Draw,
    *,
    months: int,
    redemptions: int,
    seed: int = 0,
    now: datetime | None = None,
) -> dict[str, int]:
    """Add a given world with months of history, as `simulate` does, and count the rows.

    `draw` makes the world: its names and codes must be new, and its last course is archived at some time.
    """
    session.execute(text("SET LOCAL statement_timeout = 0"))
    session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    last = (now or clock_now(session)).replace(hour=0, minute=0, second=0, microsecond=0)
    days = round(months * 365.25 / 12)
    seasons = Seasons(last - timedelta(days=days), days, [zone for zone, _, _ in HOMES])
    rng = np.random.default_rng([seed, session.scalar(select(func.count(Organization.id))) or 0])
    copied = _load(session, rng, seasons, draw(rng, seasons), redemptions, seed)
    session.execute(text("ANALYZE"))
    return copied


def bill(*, reports: bool = True) -> dict[str, int]:
    """Invoice every closed month as of soon after its end, most of them paid since, and count.

    Each organization is billed in a transaction of its own, as `runs.run` does. With `reports`, those
    of the last closed month are requested.
    """
    made = paying.bill(actor=Actor.operator(ACTOR), reports=reports)
    return {"invoices": len(made.finalized), "charges": made.charges}


def _check(organizations: int, months: int, redemptions: int, seed: int) -> None:
    ranges: dict[str, tuple[int, int, int]] = {
        "organizations": (organizations, 1, 10_000),
        "months": (months, 1, MAX_MONTHS),
        "redemptions": (redemptions, 0, 100_000_000),
        "seed": (seed, 0, 2**63),
    }
    for field, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise errors.InvalidInputError(
                f"{field} must be from {low:,} to {high:,}; {value:,} is not.", field=field
            )


def _load(
    session: Session,
    rng: np.random.Generator,
    seasons: Seasons,
    drawn: world.World,
    number: int,
    seed: int,
) -> dict[str, int]:
    granted = grants.draw(rng, seasons, drawn, number - sum(attempts.refused(number).values()))
    keys = stock.draw(rng, seasons, drawn, granted)
    charged = ledger.draw(rng, seasons, drawn, granted)
    loading = Loading(session, rng, seasons, drawn, seed)
    loading.teachers()
    with loading.bare():
        loading.keys(keys)
        loading.assignments(granted, keys)
        loading.attempts(attempts.draw(rng, seasons, drawn, granted, keys, number))
        loading.launches(usage.draw(rng, seasons, drawn, granted), granted)
        loading.charges(charged, granted)
    loading.credits(charged, granted)
    return loading.copied


def _remember(session: Session, **asked: Any) -> None:
    history.record(
        session,
        actor=Actor.operator(ACTOR),
        action="history simulated",
        thing="simulation",
        thing_ids=asked["seed"],
        **asked,
    )
