"""Whether the worker gets on: how long the inbox, deliveries and the schedule have stood still."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

LONGEST = 120  # seconds that anything may stand still

FIND = text("SELECT inbox, deliveries, schedule FROM standstill()")

RAN = text("UPDATE schedule_beat SET last_run_at = clock_now()")


class Standstill(NamedTuple):
    """For how many seconds each has stood still."""

    inbox: float
    deliveries: float
    schedule: float

    def sentence(self) -> str | None:
        """Say what stands still; None if nothing does."""
        found = [
            f"{name} for {seconds:.0f} s"
            for name, seconds in self._asdict().items()
            if seconds > LONGEST
        ]
        return (
            f"Standing still: {', '.join(found)}. Is a worker, and is beat, running?"
            if found
            else None
        )


def standstill(session: Session) -> Standstill:
    """Find out for how long each has stood still, by the database's clock."""
    return Standstill(*session.execute(FIND).one())


def ran(session: Session) -> None:
    """Note that a task of the schedule ran."""
    session.execute(RAN)
