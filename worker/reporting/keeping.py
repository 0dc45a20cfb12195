"""Reports that are kept: asked for by a person or due after an invoice, made, read, erased from.

What a report shows is `worker.reporting`'s affair. Here is which are wanted, how far each is, and
what it came to: a page and, where that was asked for, the same as PDF. A report whose worker died is
made again by the next; one that fails is set apart with its traceback and keeps no other back.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, final

from sqlalchemy import ColumnElement, Select, func, or_, select, text, true
from sqlalchemy.orm import Session

from worker import errors
from worker.database import lookup
from worker.database.lookup import Id
from worker.database.paging import Page, paged
from worker.days import FirstDay
from worker.reporting import measures, personal
from worker.tables.billing import Invoice
from worker.tables.labels import ReportFormat, ReportState
from worker.tables.reporting import ReportRun
from worker.tables.tenancy import Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role


@final
class ReportShape(FirstDay):
    """A report that is kept."""

    id: Id
    """The report's id."""
    notebook: str
    """The notebook that it is made of."""
    organization: str | None
    """Which organization it is about, with those below it; null for all of them."""
    to: date
    """The last day that it is about."""
    format: ReportFormat
    """What it was asked for as; `pdf` is kept beside its HTML."""
    invoice: str | None
    """The number of the invoice after which it was made by itself."""
    asked_by: str
    """Who asked for it, as the history names people, tokens and the schedule."""
    state: ReportState
    """How far it is."""
    worked: int
    """How many of its cells are done."""
    cells: int
    """How many cells it has; 0 until it is begun."""
    data_at: datetime | None
    """As of when its figures are."""
    created_at: datetime
    """When it was asked for."""
    finished_at: datetime | None
    """When it came to its end."""
    bytes: int
    """How long its HTML is; 0 while there is none."""
    pdf_bytes: int
    """How long its PDF is; 0 while there is none."""
    traceback: str | None
    """Why it failed."""


# What can be asked for: keypool's own notebooks. Others are run by path, and kept by who runs them.
NOTEBOOKS = ("billing", "learners_at_risk", "pools", "redemptions", "usage")
# What is made for a month once it is invoiced; the others tell how things stand now.
MONTHLY = ("billing", "redemptions", "usage")
LONGEST_LATE = "45 days"  # after its month's end; of older invoices no report is made by itself
MAX_DEATHS = 3  # deaths of a worker after which a report is set apart
LAPSE = "5 minutes"  # without a word from its worker, which has died then: a cell takes less
GAVE_UP = "Whoever made it died, three times over. Ask for it again, or for fewer days."

# Asked for in the transaction that finalizes the invoices. Those of one month (in several
# currencies) share their reports.
DUE = text("""
    INSERT INTO report_run (organization_id, invoice_id, notebook, first_day, last_day, asked_by)
    SELECT organization_id, invoice_id, notebook, month, (month + interval '1 month')::date - 1, :by
      FROM (SELECT organization_id, month, min(invoice.id) AS invoice_id
              FROM invoice JOIN organization ON organization.id = organization_id
             WHERE invoice.id = ANY (:invoice_ids)
               AND day_start(CAST(month + interval '1 month' AS date), time_zone)
                   > clock_now() - CAST(:late AS interval)
             GROUP BY organization_id, month) AS invoiced
     CROSS JOIN unnest(CAST(:notebooks AS text[])) AS notebook
     ORDER BY organization_id, month, notebook
    ON CONFLICT ON CONSTRAINT report_is_made_once_for_an_invoice DO NOTHING
""")

GIVE_UP = text("""
    UPDATE report_run SET state = 'failed', finished_at = clock_now(), traceback = :words
     WHERE state = 'running' AND attempts >= :patience
       AND worked_at < clock_now() - CAST(:lapse AS interval)
""")

# One at a time, unless a person waits for one: a report must not take both of a worker's hands.
CLAIM = text("""
    UPDATE report_run
       SET state = 'running', attempts = attempts + 1, worked = 0, cells = 0,
           worked_at = clock_now(), data_at = clock_now()
     WHERE id = (
           SELECT id FROM report_run
            WHERE (state = 'queued'
                   OR state = 'running' AND worked_at < clock_now() - CAST(:lapse AS interval))
              AND CASE WHEN CAST(:only AS bigint) IS NOT NULL THEN id = :only
                       ELSE pg_try_advisory_xact_lock(hashtext('keypool.report_run')) AND NOT EXISTS (
                           SELECT FROM report_run
                            WHERE state = 'running'
                              AND worked_at >= clock_now() - CAST(:lapse AS interval)) END
            ORDER BY invoice_id IS NOT NULL, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, attempts AS attempt, notebook, organization_id, first_day, last_day, format
""")

# Whoever lost the report to another has no attempt of it any more, and changes nothing.
MINE = "id = :id AND state = 'running' AND attempts = :attempt"

ADVANCE = text(f"""
    UPDATE report_run SET worked = :worked, cells = :cells, worked_at = clock_now() WHERE {MINE}
""")  # noqa: S608  # MINE is a constant

FINISH = text(f"""
    UPDATE report_run
       SET state = 'done', worked = cells, finished_at = clock_now(), page = :page, pdf = :pdf
     WHERE {MINE}
""")  # noqa: S608  # as above

FAIL = text(f"""
    UPDATE report_run SET state = 'failed', finished_at = clock_now(), traceback = :traceback
     WHERE {MINE}
""")  # noqa: S608  # as above

BEGIN_ANEW = text(f"UPDATE report_run SET state = 'queued' WHERE {MINE}")  # noqa: S608  # as above

# Erasures and reports that are done take turns, so that no page keeps whom its data still had.
TAKE_TURNS = text("SELECT pg_advisory_xact_lock(hashtext('keypool.erasing'))")

# A PDF cannot be rewritten: it is printed anew, of the page as it is then.
REWRITE = text("UPDATE report_run SET page = :page, pdf = NULL WHERE id = :id")

UNPRINTED = text("""
    SELECT id, page FROM report_run
     WHERE state = 'done' AND format = 'pdf' AND pdf IS NULL AND id > :after ORDER BY id LIMIT 1
""")

KEEP_PDF = text("UPDATE report_run SET pdf = :pdf WHERE id = :id AND page = :page")

# An erasure's time is when it began, which may be before this report's data was read.
ERASED_MEANWHILE = text("""
    SELECT EXISTS (SELECT FROM history JOIN report_run ON report_run.id = :id
                    WHERE thing = 'learner' AND action = 'learner erased'
                      AND at >= data_at - interval '2 minutes')
""")


@dataclass(frozen=True)
class Claim:
    """A report that is to be made now, and by whom: `attempt` counts who tried."""

    id: int
    attempt: int
    notebook: str
    organization_id: int | None
    first_day: date
    last_day: date
    format: str

    @property
    def mine(self) -> dict[str, int]:
        """What says that it is still this attempt's."""
        return {"id": self.id, "attempt": self.attempt}


def ask(
    session: Session,
    *,
    actor: Actor,
    notebook: str,
    organization: str | None = None,
    from_: str | date | None = None,
    to: str | date | None = None,
    format: str = "html",
) -> ReportShape:
    """Have a report made by whoever makes them next, and kept; gives it, queued.

    It is about an organization and its descendants, by default all that the actor sees. Days are
    inclusive, in its time zone; without them it is the year that ends today. `format` is `html`, or
    `pdf` for both. Whoever makes it needs Chromium for a PDF; without, the report fails.

    Raises:
        NotFoundError: there is no such organization or notebook.
        InvalidInputError: a day or the format is none, or the last day comes before the first.
        ForbiddenError: the actor's role does not read what the notebook shows.
    """
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    if notebook not in NOTEBOOKS:
        raise errors.NotFoundError(
            f"There is no notebook “{notebook}”; name one of {', '.join(NOTEBOOKS)}."
        )
    _require_reader(actor, notebook)
    about = measures.whom(session, actor, organization)
    first, last = measures.period(session, about, from_, to)
    report = ReportRun(
        organization_id=about and about.id,
        notebook=notebook,
        first_day=first,
        last_day=last,
        format=lookup.label(ReportFormat, format, field="format"),
        asked_by=actor.name,
    )
    session.add(report)
    session.flush()
    _remember(session, actor, report)
    return show(session, actor=actor, report=str(report.id))


def ask_after(session: Session, invoice_ids: list[int]) -> None:
    """Have the monthly reports made of the months that these invoices, now final, are for."""
    session.execute(
        DUE,
        {
            "invoice_ids": invoice_ids,
            "notebooks": list(MONTHLY),
            "late": LONGEST_LATE,
            "by": "schedule",
        },
    )


def listing(
    session: Session,
    *,
    actor: Actor,
    organization: str | None = None,
    notebook: str | None = None,
    state: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page[ReportShape]:
    """List the reports that are kept of the actor's organizations, newest first."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    wanted = _rows(actor)
    if organization:
        owner = organizations.find(session, actor=actor, name=organization)
        wanted = wanted.where(ReportRun.organization_id == owner.id)
    if notebook:
        wanted = wanted.where(ReportRun.notebook == notebook)
    if state:
        wanted = wanted.where(ReportRun.state == lookup.label(ReportState, state, field="state"))
    return paged(
        session, wanted, by=ReportRun.id, after=after, limit=limit, shape=_shape, newest_first=True
    )


def show(session: Session, *, actor: Actor, report: str) -> ReportShape:
    """Give a report that is kept: what it was asked, how far it is, and why it failed."""
    found = find(session, actor=actor, report=report)
    return _shape(session.execute(_rows(actor).where(ReportRun.id == found.id)).one())


def page(session: Session, *, actor: Actor, report: str) -> str:
    """Give the HTML of a report that is done.

    Raises:
        ReportNotDoneError: it is not made yet, or failed.
    """
    found = find(session, actor=actor, report=report)
    made = session.scalar(select(ReportRun.page).where(ReportRun.id == found.id))
    if made is None:
        raise errors.ReportNotDoneError(f"Report {found.id} is {found.state}, so it has no page.")
    return made


def pdf(session: Session, *, actor: Actor, report: str) -> bytes:
    """Give the PDF of a report that was asked for as PDF and is done.

    Raises:
        NotFoundError: it was not asked for as PDF.
        ReportNotDoneError: it is not made yet, or failed, or is printed anew after an erasure.
    """
    found = find(session, actor=actor, report=report)
    if found.format is not ReportFormat.PDF:
        raise errors.NotFoundError(
            f"Report {found.id} was asked for as HTML and has no PDF; ask for one with format pdf."
        )
    printed = session.scalar(select(ReportRun.pdf).where(ReportRun.id == found.id))
    if printed is None:
        erased = "done, but somebody was erased from it; its PDF is printed anew, so ask again soon"
        how = erased if found.state is ReportState.DONE else f"{found.state}, so it has no PDF"
        raise errors.ReportNotDoneError(f"Report {found.id} is {how}.")
    return printed


def find(session: Session, *, actor: Actor, report: str) -> ReportRun:
    """Find a report of the actor's organizations by id."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    return lookup.find(
        session,
        ReportRun,
        thing="report",
        name=report,
        within=[_sees(actor), _reads(actor)],
    )


def claim(session: Session, *, only: int | None = None) -> Claim | None:
    """Take the report whose turn it is, people's first; None where there is none to make."""
    told = {"patience": MAX_DEATHS, "lapse": LAPSE, "only": only}
    session.execute(GIVE_UP, told | {"words": GAVE_UP})
    row = session.execute(CLAIM, told).mappings().one_or_none()
    return Claim(**row) if row else None


def advance(session: Session, *, claim: Claim, worked: int, cells: int) -> None:
    """Say how many of its cells are done."""
    session.execute(ADVANCE, claim.mine | {"worked": min(worked, cells), "cells": cells})


def finish(session: Session, *, claim: Claim, page: str, pdf: bytes | None = None) -> None:
    """Keep what a report came to; it is made anew where a person was erased meanwhile."""
    session.execute(TAKE_TURNS)
    if personal.names_people(page) and session.scalar(ERASED_MEANWHILE, {"id": claim.id}):
        session.execute(BEGIN_ANEW, claim.mine)
        return
    session.execute(FINISH, claim.mine | {"page": page, "pdf": pdf})


def fail(session: Session, *, claim: Claim, traceback: str) -> None:
    """Set a report apart with its traceback."""
    words = traceback.replace("\0", "").strip() or "It failed without a word."
    session.execute(FAIL, claim.mine | {"traceback": words})


def unprinted(session: Session, *, after: int) -> tuple[int, str] | None:
    """Give id and page of the next report, by id, whose PDF an erasure took away; None: no more."""
    row = session.execute(UNPRINTED, {"after": after}).one_or_none()
    return (row.id, row.page) if row else None


def keep_pdf(session: Session, *, report: int, page: str, pdf: bytes) -> None:
    """Keep a page printed anew, unless somebody was erased from the page since."""
    session.execute(KEEP_PDF, {"id": report, "page": page, "pdf": pdf})


def erase(session: Session, *, email: str, pseudonym: str) -> None:
    """Put a pseudonym in place of a person's address, and nothing in that of the name, in every page."""
    session.execute(TAKE_TURNS)
    # A long table shows its first rows; the others are in its CSV, where no text is found.
    holding = select(ReportRun.id).where(
        or_(
            func.lower(ReportRun.page).contains(personal.shown(email).lower(), autoescape=True),
            ReportRun.page.contains(personal.CSV, autoescape=True),
        )
    )
    for report in session.scalars(holding).all():
        page = session.scalars(select(ReportRun.page).where(ReportRun.id == report)).one() or ""
        changed = personal.erased(page, email=email, pseudonym=pseudonym)
        if changed != page:
            session.execute(REWRITE, {"page": changed, "id": report})


def _sees(actor: Actor) -> ColumnElement[bool]:
    return actor.sees(ReportRun.organization_id)


def _reads(actor: Actor) -> ColumnElement[bool]:
    """What a role reads: finance what is billed, a manager the rest, an analyst all of it."""
    billed = ReportRun.notebook == "billing"
    if actor.role is Role.FINANCE:
        return billed
    return ~billed if actor.role is Role.MANAGER else true()


def _require_reader(actor: Actor, notebook: str) -> None:
    actor.require(Role.ANALYST, Role.FINANCE if notebook == "billing" else Role.MANAGER)


def _rows(actor: Actor) -> Select[Any]:
    columns: list[Any] = [
        ReportRun,
        Organization.name.label("organization"),
        func.coalesce(func.octet_length(ReportRun.page), 0).label("size"),
        func.coalesce(func.octet_length(ReportRun.pdf), 0).label("pdf_size"),
        Invoice.number,
    ]
    return (
        select(*columns)
        .join(Organization, Organization.id == ReportRun.organization_id, isouter=True)
        .join(Invoice, Invoice.id == ReportRun.invoice_id, isouter=True)
        .where(_sees(actor), _reads(actor))
    )


def _shape(row: Any) -> ReportShape:
    report: ReportRun = row.ReportRun
    return {
        "id": str(report.id),
        "notebook": report.notebook,
        "organization": row.organization,
        "from": report.first_day,
        "to": report.last_day,
        "format": report.format,
        "invoice": row.number,
        "asked_by": report.asked_by,
        "state": report.state,
        "worked": report.worked,
        "cells": report.cells,
        "data_at": report.data_at,
        "created_at": report.created_at,
        "finished_at": report.finished_at,
        "bytes": row.size,
        "pdf_bytes": row.pdf_size,
        "traceback": report.traceback,
    }


def _remember(session: Session, actor: Actor, report: ReportRun) -> None:
    history.record(
        session,
        actor=actor,
        action="report asked for",
        thing="report",
        thing_ids=report.id,
        organization_id=report.organization_id,
        notebook=report.notebook,
        first=report.first_day.isoformat(),
        last=report.last_day.isoformat(),
        format=report.format,
    )
