"""The schedule's runs: each period's once, however many schedulers there are; and each job's last success."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

# In the transaction of the job's work: a run that died leaves no row, and of two at once one wins.
RUN = text("""
    INSERT INTO schedule_run (job, period) VALUES (:job, date_trunc(:every, clock_now(), 'UTC'))
    ON CONFLICT DO NOTHING RETURNING job
""")

PLAN = text("""
    INSERT INTO schedule_job (name, every)
    SELECT * FROM unnest(CAST(:names AS text[]), CAST(:every AS interval[]))
    ON CONFLICT (name) DO UPDATE SET every = excluded.every WHERE schedule_job.every <> excluded.every
""")
DROP = text("DELETE FROM schedule_job WHERE name <> ALL (:names)")
SUCCEEDED = text("UPDATE schedule_job SET succeeded_at = clock_now() WHERE name = :job")


def is_due(session: Session, *, job: str, every: Literal["hour", "day"]) -> bool:
    """Take this period's run of a job unless it is taken; the session's commit makes that permanent."""
    return session.scalar(RUN, {"job": job, "every": every}) is not None


def plan(session: Session, jobs: Mapping[str, timedelta]) -> None:
    """Note which jobs the schedule has, and how often each runs: what is not among them is forgotten."""
    session.execute(PLAN, {"names": list(jobs), "every": list(jobs.values())})
    session.execute(DROP, {"names": list(jobs)})


def succeeded(session: Session, *, job: str) -> None:
    """Note that a job of the schedule succeeded now."""
    session.execute(SUCCEEDED, {"job": job})
