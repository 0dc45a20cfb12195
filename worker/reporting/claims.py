"""Claims: which worker makes which stored report, its result, and redacting erased people from it.

A worker's progress is its heartbeat. A report without one is retried by the next worker; one that
fails is a dead letter: set apart with its traceback. Neither holds up other reports.
"""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, or_, select, text
from sqlalchemy.orm import Session

from worker.database import locks
from worker.reporting import personal
from worker.reporting.parameters import Values
from worker.tables.reporting import ReportRun

MAX_DEATHS = 3  # deaths of a worker after which a report is a dead letter
MAX_ATTEMPTS = 3  # to make a scheduled report, which nobody watches; others are tried once
LAPSE = "5 minutes"  # heartbeat timeout: a worker without progress for so long has died
DIED = "The worker died while making it, three times. Request it again, or for fewer days."

GIVE_UP = text("""
    UPDATE report_run SET state = 'failed', finished_at = clock_now(), traceback = :words
     WHERE state = 'running' AND attempts >= :patience
       AND worked_at < clock_now() - CAST(:lapse AS interval)
""")

# One report at a time, unless a person waits for one: reports must not take both worker processes.
CLAIM = text(f"""
    UPDATE report_run
       SET state = 'running', attempts = attempts + 1, worked = 0, cells = 0,
           worked_at = clock_now(), data_at = clock_now()
     WHERE id = (
           SELECT id FROM report_run
            WHERE (state = 'queued' AND coalesce(retry_at, '-infinity') <= clock_now()
                   OR state = 'running' AND worked_at < clock_now() - CAST(:lapse AS interval))
              AND CASE WHEN CAST(:only AS bigint) IS NOT NULL THEN id = :only
                       ELSE {locks.TRY} AND NOT EXISTS (
                           SELECT FROM report_run
                            WHERE state = 'running'
                              AND worked_at >= clock_now() - CAST(:lapse AS interval)) END
            ORDER BY invoice_id IS NOT NULL OR schedule_id IS NOT NULL, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, attempts AS attempt, notebook, organization_id, first_day, last_day, format, parameters
""")  # noqa: S608  # a constant

# A worker whose claim was taken over has an older attempt number, so its updates match no row.
MINE = "id = :id AND state = 'running' AND attempts = :attempt"

ADVANCE = text(f"""
    UPDATE report_run SET worked = :worked, cells = :cells, worked_at = clock_now() WHERE {MINE}
""")  # noqa: S608  # MINE is a constant

FINISH = text(f"""
    UPDATE report_run
       SET state = 'done', worked = cells, finished_at = clock_now(), page = :page, pdf = :pdf,
           traceback = :failed
     WHERE {MINE}
""")  # noqa: S608  # as above

FAIL = text(f"""
    UPDATE report_run SET state = 'failed', finished_at = clock_now(), traceback = :traceback
     WHERE {MINE}
""")  # noqa: S608  # as above

# A scheduled report is tried again after ten minutes, and after an hour.
PUT_OFF = text(f"""
    UPDATE report_run
       SET state = 'queued', retry_at = clock_now() + interval '10 minutes' * 6 ^ (attempts - 1)
     WHERE {MINE} AND schedule_id IS NOT NULL AND attempts < :most
""")  # noqa: S608  # as above

BEGIN_ANEW = text(f"UPDATE report_run SET state = 'queued' WHERE {MINE}")  # noqa: S608  # as above

# A lock between erasing and finishing, so that no page keeps a person whom its data still had.
ERASING = "erasing"

# A PDF cannot be edited, so it is printed again from the redacted page.
REWRITE = text("UPDATE report_run SET page = :page, pdf = NULL WHERE id = :id")

FORGET = [
    text(f"""
        UPDATE {table}
           SET parameters = (SELECT jsonb_object_agg(key, CASE WHEN lower(value #>> '{{}}') = :email
                                                               THEN to_jsonb(CAST(:pseudonym AS text))
                                                               ELSE value END)
                               FROM jsonb_each(parameters))
         WHERE EXISTS (SELECT FROM jsonb_each_text(parameters) WHERE lower(value) = :email)""")  # noqa: S608  # constants
    for table in ("report_run", "report_schedule")
]


UNPRINTED = text("""
    SELECT id, page FROM report_run
     WHERE state = 'done' AND format = 'pdf' AND pdf IS NULL AND id > :after ORDER BY id LIMIT 1
""")

STOP_MAILING = text("""
    UPDATE report_schedule
       SET recipients = ARRAY(SELECT recipient FROM unnest(recipients) WITH ORDINALITY AS of (recipient, nth)
                               WHERE lower(recipient) <> :email ORDER BY nth)
     WHERE :email IN (SELECT lower(recipient) FROM unnest(recipients) AS recipient)
""")

KEEP_PDF = text("UPDATE report_run SET pdf = :pdf WHERE id = :id AND page = :page")

# An erasure's time is its start, which may be before this report's data was read.
ERASED_MEANWHILE = text("""
    SELECT EXISTS (SELECT FROM history JOIN report_run ON report_run.id = :id
                    WHERE thing = 'learner' AND action = 'learner erased'
                      AND at >= data_at - interval '2 minutes')
""")


@dataclass(frozen=True)
class Claim:
    """A report to be made now; `attempt` counts the claims on it."""

    id: int
    attempt: int
    notebook: str
    organization_id: int | None
    first_day: date
    last_day: date
    format: str
    parameters: Values

    @property
    def mine(self) -> dict[str, int]:
        """The parameters that match the report only while this claim holds."""
        return {"id": self.id, "attempt": self.attempt}


def take(session: Session, *, only: int | None = None) -> Claim | None:
    """Claim the next report, those that people requested first; None if there is none."""
    parameters = {"patience": MAX_DEATHS, "lapse": LAPSE, "only": only, "name": "reporting"}
    session.execute(GIVE_UP, parameters | {"words": DIED})
    row = session.execute(CLAIM, parameters).mappings().one_or_none()
    return Claim(**row) if row else None


def advance(session: Session, *, claim: Claim, worked: int, cells: int) -> None:
    """Record how many cells are done; this is the claim's heartbeat."""
    session.execute(ADVANCE, claim.mine | {"worked": min(worked, cells), "cells": cells})


def finish(
    session: Session,
    *,
    claim: Claim,
    page: str,
    pdf: bytes | None = None,
    failed: str | None = None,
) -> None:
    """Store a report's result; it is queued again if a person was erased meanwhile.

    `failed` are the tracebacks of its cells that failed.
    """
    locks.wait_for(session, ERASING)
    if personal.names_people(page) and session.scalar(ERASED_MEANWHILE, {"id": claim.id}):
        session.execute(BEGIN_ANEW, claim.mine)
        return
    session.execute(FINISH, claim.mine | {"page": page, "pdf": pdf, "failed": failed})


def fail(session: Session, *, claim: Claim, traceback: str) -> None:
    """Set a report apart (a dead letter) with its traceback; a scheduled one is retried before."""
    words = traceback.replace("\0", "").strip() or "It failed without a word."
    session.execute(PUT_OFF, claim.mine | {"most": MAX_ATTEMPTS})
    session.execute(FAIL, claim.mine | {"traceback": words})


def unprinted(session: Session, *, after: int) -> tuple[int, str] | None:
    """Give id and page of the next report, by id, whose PDF an erasure deleted; None if no more."""
    row = session.execute(UNPRINTED, {"after": after}).one_or_none()
    return (row.id, row.page) if row else None


def keep_pdf(session: Session, *, report: int, page: str, pdf: bytes) -> None:
    """Store a PDF that was printed again, unless somebody was erased from the page since."""
    session.execute(KEEP_PDF, {"id": report, "page": page, "pdf": pdf})


def erase(session: Session, *, email: str, pseudonym: str) -> None:
    """Replace a person's address by a pseudonym, and the name by nothing, in every page.

    In parameters it is replaced too, and no scheduled report is mailed there any more.
    """
    locks.wait_for(session, ERASING)
    for forget in FORGET:
        session.execute(forget, {"email": email.lower(), "pseudonym": pseudonym})
    session.execute(STOP_MAILING, {"email": email.lower()})
    # A long table shows its first rows; the others are only in its encoded CSV, which a search misses.
    holding = select(ReportRun.id).where(
        or_(
            func.lower(ReportRun.page).contains(personal.shown(email).lower(), autoescape=True),
            ReportRun.page.contains(personal.CSV_PREFIX, autoescape=True),
        )
    )
    for report in session.scalars(holding).all():
        page = session.scalars(select(ReportRun.page).where(ReportRun.id == report)).one() or ""
        changed = personal.erased(page, email=email, pseudonym=pseudonym)
        if changed != page:
            session.execute(REWRITE, {"page": changed, "id": report})
