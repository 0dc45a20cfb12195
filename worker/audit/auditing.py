"""The run of an audit: slice by slice, each a short query of its own, so that the whole has no time limit.

A slice reads one snapshot and proves what holds in it. What was found is kept in audit_run with how far it
came: whoever works the run next goes on from there.
"""

import time
from datetime import datetime
from decimal import Decimal
from typing import cast

from sqlalchemy import select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.audit.rules import CHECKS, Check, Rows
from worker.database import connections, periods
from worker.errors import NotFoundError
from worker.tables.audit import AuditRun

LISTED = 20
STINT = 0.5  # seconds of slices that are committed together

# By indexes: a slice never reads a whole large table, whatever the planner's statistics say.
BY_INDEX = text("""
    SELECT set_config('enable_seqscan', 'off', true), set_config('random_page_cost', '1.1', true)""")


class CheckShape(TypedDict):
    """One rule of the ledger."""

    name: str
    """The rule."""
    ok: bool
    """Whether it holds."""
    figures: dict[str, int | str]
    """What was counted for it."""
    rows: list[str]
    """The first rows that break it."""


class AuditShape(TypedDict):
    """Whether nothing was lost or doubled."""

    ok: bool
    """Whether every rule holds."""
    checks: list[CheckShape]
    """The rules."""
    since: datetime | None
    """Only what was made or changed since then was looked at; null: everything."""
    begun_at: datetime
    """When it began."""
    ended_at: datetime | None
    """When it ended; null while it goes on."""
    checked: int
    """How many rows it went through, a row once for each rule about it."""
    faults: int
    """How many rows break a rule."""


class Progress(TypedDict):
    """How far a check came: the last id that it looked at, and the last that it will."""

    after: int
    last: int
    ended: bool
    ok: bool
    figures: dict[str, int | str]
    rows: list[str]


def audit(session: Session, *, since: datetime | None = None) -> AuditShape:
    """Prove the ledger's rules within the session's transaction."""
    run = begin(session, since=since)
    while not work(session, run=run):
        pass
    return show(session, run=run)


def begin(session: Session, *, since: datetime | None = None) -> int:
    """Begin an audit, of what was made or changed since a time where one is given; gives its id."""
    begun = AuditRun(since=since, checks={})
    session.add(begun)
    session.flush()
    return begun.id


def begin_daily(session: Session) -> int | None:
    """Begin the day's audit of everything; None if it was begun, or one before it still goes on."""
    going_on = select(AuditRun.id).where(AuditRun.ended_at.is_(None), AuditRun.since.is_(None))
    if session.scalar(going_on.limit(1)) or not periods.is_due(session, job="audit", every="day"):
        return None
    return begin(session)


def interrupted(session: Session) -> int:
    """Give the id of the audit that began last and has not ended.

    Raises:
        NotFoundError: there is none.
    """
    newest = select(AuditRun.id).where(AuditRun.ended_at.is_(None)).order_by(AuditRun.id.desc())
    if (run := session.scalar(newest.limit(1))) is None:
        raise NotFoundError("No audit was interrupted; begin one without --resume.")
    return run


def work(session: Session, *, run: int) -> bool:
    """Work some slices of an audit, for half a second; says whether it has ended."""
    locked = session.get_one(AuditRun, run, with_for_update=True, populate_existing=True)
    return _work(session, locked)


def work_next(session: Session) -> AuditShape | None:
    """Work some slices of the oldest audit that has not ended; None if there is none that nobody works on."""
    oldest = select(AuditRun).where(AuditRun.ended_at.is_(None)).order_by(AuditRun.id).limit(1)
    run = session.scalar(oldest.with_for_update(skip_locked=True))
    if run is None:
        return None
    _work(session, run)
    return _shape(run)


def show(session: Session, *, run: int) -> AuditShape:
    """Show what an audit found, so far if it has not ended."""
    return _shape(session.get_one(AuditRun, run))


def percent(session: Session, *, run: int) -> int:
    """Say how much of an audit is done, each check as much as any other."""
    return int(
        100 * sum(map(_share, _progress(session.get_one(AuditRun, run)).values())) / len(CHECKS)
    )


def _share(progress: Progress) -> float:
    return 1.0 if progress["ended"] else progress["after"] / max(progress["last"], 1)


def _work(session: Session, run: AuditRun) -> bool:
    session.execute(BY_INDEX)
    until = time.monotonic() + STINT
    for check in CHECKS:
        while not _progress(run).get(check.name, NOT_BEGUN)["ended"]:
            _work_slice(session, run, check)
            if time.monotonic() >= until:
                return False
    run.ended_at = run.ended_at or connections.clock_now(session)
    return True


def _work_slice(session: Session, run: AuditRun, check: Check) -> None:
    known = _progress(run).get(check.name)
    # A copy: SQLAlchemy sees no change within what it loaded.
    progress: Progress = {**known} if known else _begun(session, run, check)
    after, upto, size = _next(session, run, check.rows, progress)
    progress["ended"] = upto is None or check.rows is None
    if upto is not None:
        figures, faults, rows = _proven(session, check, after=after, upto=upto)
        unequal = check.equal and len(set(figures.values())) > 1
        faults = max(faults, int(unequal))
        progress["ok"] &= faults == 0
        progress["figures"] = _added(progress["figures"], figures)
        progress["rows"] = (progress["rows"] + rows)[:LISTED]
        progress["after"] = upto
        run.checked, run.faults = run.checked + size, run.faults + faults
    run.checks = {**run.checks, check.name: progress}


NOT_BEGUN = Progress(after=0, last=0, ended=False, ok=True, figures={}, rows=[])


def _begun(session: Session, run: AuditRun, check: Check) -> Progress:
    """Begin a check: it goes up to the last row of now, or a table that grows would never be through."""
    if check.rows is None:
        return {**NOT_BEGUN}
    greatest = f"SELECT max({check.rows.id}) FROM {check.rows.table}"  # noqa: S608  # constants of rules
    last = session.scalar(text(greatest)) or 0
    after = _before(session, check.rows, since=run.since, last=last)
    return {**NOT_BEGUN, "after": after, "last": last, "figures": _figures(session, check)}


def _before(session: Session, rows: Rows, *, since: datetime | None, last: int) -> int:
    """Give the id before the first row that was made since a time."""
    if since is None or not rows.first:
        return 0
    first = session.scalar(text(rows.first), {"since": since})
    return last if first is None else first - 1


def _figures(session: Session, check: Check) -> dict[str, int | str]:
    """Give the figures of no row, which the slices' are added to."""
    return dict(session.execute(text(check.figures), {"after": 0, "upto": 0}).mappings().one())


def _next(
    session: Session, run: AuditRun, rows: Rows | None, progress: Progress
) -> tuple[int, int | None, int]:
    """Give a slice: the ids above the first number up to the second (None: there is none), and its rows."""
    if rows is None:
        return 0, 0, 0
    late = f"AND {rows.since}" if run.since and rows.since else ""
    query = text(f"""
        SELECT min(id) - 1, max(id), count(*)
          FROM (SELECT {rows.id} AS id FROM {rows.table}
                 WHERE {rows.id} > :after AND {rows.id} <= :last {late}
                 ORDER BY {rows.id} LIMIT :size) AS slice""")  # noqa: S608  # constants of rules
    given = {
        "after": progress["after"],
        "last": progress["last"],
        "size": rows.size,
        "since": run.since,
    }
    after, upto, size = session.execute(query, given).one()
    return after, upto, size


def _proven(
    session: Session, check: Check, *, after: int, upto: int
) -> tuple[dict[str, int | str], int, list[str]]:
    """Prove a rule for a slice in one statement, and so on one snapshot: figures, faults, the first of them."""
    query = text(f"""
        WITH broken AS MATERIALIZED ({check.broken}), figures AS ({check.figures})
        SELECT (SELECT to_jsonb(figures) FROM figures), (SELECT count(*) FROM broken),
               ARRAY(SELECT broken FROM broken LIMIT {LISTED})""")  # noqa: S608  # constants of rules
    figures, faults, rows = session.execute(query, {"after": after, "upto": upto}).one()
    return figures, faults, rows


def _added(before: dict[str, int | str], figures: dict[str, int | str]) -> dict[str, int | str]:
    """Add a slice's figures: counts, and amounts as text."""
    return {
        name: value + cast(int, before.get(name, 0))
        if isinstance(value, int)
        else str(Decimal(value) + Decimal(before.get(name, 0)))
        for name, value in figures.items()
    }


def _progress(run: AuditRun) -> dict[str, Progress]:
    return cast(dict[str, Progress], run.checks)


def _shape(run: AuditRun) -> AuditShape:
    found = [(check.name, _progress(run).get(check.name, NOT_BEGUN)) for check in CHECKS]
    checks: list[CheckShape] = [
        {"name": name, "ok": one["ok"], "figures": one["figures"], "rows": one["rows"]}
        for name, one in found
    ]
    return {
        "ok": run.faults == 0,
        "checks": checks,
        "since": run.since,
        "begun_at": run.begun_at,
        "ended_at": run.ended_at,
        "checked": run.checked,
        "faults": run.faults,
    }
