"""Whether events wait to be decided: asked by processes that decide none, and need not import how."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

FIRST = text("""
    SELECT id FROM event WHERE is_undecided(status, waits_for)
     ORDER BY received_at, id LIMIT 1
""")

LATE = text("""
    SELECT EXISTS (SELECT FROM event
                    WHERE is_undecided(status, waits_for) AND received_at < clock_now() - :waited)
""")


def is_late(session: Session, *, waited: timedelta) -> bool:
    """Say whether an event has waited for longer than that."""
    return bool(session.scalar(LATE, {"waited": waited}))


def first_waiting(session: Session) -> int | None:
    """Give the id of the event that has waited longest; None if nothing waits."""
    first: int | None = session.scalar(FIRST)
    return first
