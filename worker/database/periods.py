"""Scheduled periods: each done once, however many schedulers run, and again if its run died."""

from typing import Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

# In the transaction of the job's work: what died left no row, and two at once make one.
RUN = text("""
    INSERT INTO schedule_run (job, period) VALUES (:job, date_trunc(:every, clock_now(), 'UTC'))
    ON CONFLICT DO NOTHING RETURNING job
""")


def is_due(session: Session, *, job: str, every: Literal["hour", "day"]) -> bool:
    """Take this period's run of a job, if nobody has; it is taken for good when the session commits."""
    return session.scalar(RUN, {"job": job, "every": every}) is not None
