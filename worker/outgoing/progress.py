"""Whether the worker gets on: how long the inbox, deliveries and the schedule have stood still."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.outgoing.delivering import HEAD

LONGEST = 120  # seconds that anything may stand still

SECONDS = "coalesce(extract(epoch FROM clock_now() - min({})), 0)"
INBOX = f"SELECT {SECONDS.format('received_at')} FROM event WHERE is_undecided(status, waits_for)"  # noqa: S608  # constants
DELIVERIES = f"SELECT {SECONDS.format('head.due_at')} FROM {HEAD}"  # noqa: S608  # as above
SCHEDULE = f"SELECT {SECONDS.format('last_run_at')} FROM schedule_beat"  # noqa: S608  # as above
FIND = text(f"SELECT ({INBOX})::float, ({DELIVERIES})::float, ({SCHEDULE})::float")

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
