"""Scheduled periods: each is run once, however many schedulers there are, and retried if its run died."""

from typing import Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

# In the transaction of the job's work: a run that died leaves no row, and of two at once one wins.
RUN = text("""
    INSERT INTO schedule_run (job, period) VALUES (:job, date_trunc(:every, clock_now(), 'UTC'))
    ON CONFLICT DO NOTHING RETURNING job
""")


def is_due(session: Session, *, job: str, every: Literal["hour", "day"]) -> bool:
    """Take this period's run of a job unless it is taken; the session's commit makes that permanent."""
    return session.scalar(RUN, {"job": job, "every": every}) is not None
