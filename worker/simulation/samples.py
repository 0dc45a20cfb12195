"""Sample data for a first start: what was asked for on the first pages."""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from worker import simulation
from worker.database.connections import transaction
from worker.tables.tenancy import FirstStart
from worker.tenancy import first_start

ORGANIZATIONS, MONTHS, REDEMPTIONS = 3, 18, 12_000


def make() -> dict[str, int] | None:
    """Make sample data if it is wanted and there are no organizations yet, and count; else give None."""
    made = transaction(_simulated)
    return made and made | simulation.bill()


def _simulated(session: Session) -> dict[str, int] | None:
    mine = select(FirstStart).with_for_update(skip_locked=True)
    if session.scalar(mine) is None or first_start.samples(session) != "wanted":
        return None
    made = simulation.simulate(
        session, organizations=ORGANIZATIONS, months=MONTHS, redemptions=REDEMPTIONS
    )
    session.execute(update(FirstStart).values(samples_made_at=func.clock_now()))
    return made
