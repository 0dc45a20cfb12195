"""Schedules: reports that are made again and again, about each day, week or month when it is over.

A report is queued for each period as if somebody had requested it; a constraint keeps it to one a
period, however often the sweep runs. When such a report is made, triggers of schema.sql write the mails.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Date, Interval, Select, Text, cast, func, select, text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.database import lookup
from worker.database.lookup import Id
from worker.database.paging import Selected
from worker.reporting import keeping, measures, rendering
from worker.reporting.parameters import Value, Values, taken
from worker.tables.labels import ReportRhythm, ScheduleFormat
from worker.tables.reporting import ReportRun, ReportSchedule
from worker.tables.tenancy import Organization
from worker.tenancy import addresses, history, organizations
from worker.tenancy.actors import Actor, Role

MOST_MISSED = 7  # periods that are made up for after an outage: the newest ones of each schedule
LATE = "10 minutes"  # after a period's end; its last events are decided by then
CALLED = {"recipients": "mail"}  # a column, by what people call it
ZONE = func.coalesce(Organization.time_zone, "UTC")  # as of other reports on all organizations


class ScheduleShape(TypedDict):
    """A report that is made again and again."""

    id: Id
    """The schedule's id."""
    notebook: str
    """The notebook that it is made from."""
    organization: str | None
    """The organization that it is about, with its descendants; null for all."""
    every: ReportRhythm
    """How often: about each day, week (from Monday on) or month, when that is over in its time zone."""
    format: ScheduleFormat
    """What it is mailed as; `xlsx` has its tables."""
    parameters: Values
    """The notebook's own parameters."""
    mail: list[str]
    """The addresses that get each by mail."""
    asked_by: str
    """Who scheduled it, as named in the history."""
    created_at: datetime
    """When it was scheduled."""
    paused_at: datetime | None
    """Since when none is made; null if it goes on."""
    next_on: date | None
    """The day on which the next one is made; null while it is paused."""
    last_report: Id | None
    """The newest report that it had made."""


# For each schedule the newest periods that are over, and end after it began or was resumed.
DUE = text("""
    INSERT INTO report_run (schedule_id, organization_id, notebook, first_day, last_day, format,
                            parameters, asked_by)
    SELECT schedule.id, schedule.organization_id, notebook, first_day, next_day - 1,
           CASE format WHEN 'pdf' THEN 'pdf' ELSE 'html' END::report_format, parameters,
           'schedule ' || schedule.id
      FROM report_schedule AS schedule
      LEFT JOIN organization ON organization.id = schedule.organization_id
     CROSS JOIN LATERAL (
           SELECT coalesce(time_zone, 'UTC') AS zone, CAST('1 ' || every AS interval) AS step) AS place
     CROSS JOIN generate_series(0, :most - 1) AS nth
     CROSS JOIN LATERAL (
           SELECT date_trunc(every::text, clock_now() AT TIME ZONE zone) - nth * step AS ended) AS period
     CROSS JOIN LATERAL (
           SELECT CAST(ended - step AS date) AS first_day, CAST(ended AS date) AS next_day) AS days
     WHERE paused_at IS NULL AND removed_at IS NULL
       AND day_start(next_day, zone) > since
       AND day_start(next_day, zone) <= clock_now() - CAST(:late AS interval)
     ORDER BY next_day, schedule.id
    ON CONFLICT ON CONSTRAINT report_is_made_once_for_a_period DO NOTHING
    RETURNING id
""")


def schedule(
    session: Session,
    *,
    actor: Actor,
    notebook: str,
    every: str,
    organization: str | None = None,
    format: str = "html",
    parameters: Mapping[str, Value] | None = None,
    mail: Sequence[str] = (),
) -> ScheduleShape:
    """Have a report made every day, week or month from now on, about the one that is over then.

    It is about an organization and its descendants, by default all that the actor sees. Each is kept,
    and sent by mail to the addresses of `mail`. `parameters` are the notebook's own.

    Raises:
        NotFoundError: there is no such organization or notebook.
        InvalidInputError: the rhythm, the format, a parameter or an address is invalid.
        ForbiddenError: the actor's role may not read what the notebook shows.
    """
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    known = rendering.own_parameters(notebook)
    keeping.require_reader(actor, notebook)
    about = measures.whom(session, actor, organization)
    made = ReportSchedule(
        organization_id=about and about.id,
        notebook=notebook,
        every=lookup.label(ReportRhythm, every, field="every"),
        format=lookup.label(ScheduleFormat, format, field="format"),
        parameters=taken(parameters or {}, known=known, notebook=notebook),
        recipients=_recipients(mail),
        asked_by=actor.name,
        named_by_id=actor.organization_id,
    )
    session.add(made)
    session.flush()
    _remember(session, actor, "report scheduled", made, every=made.every, mail=made.recipients)
    return show(session, actor=actor, schedule=str(made.id))


def edit(
    session: Session,
    *,
    actor: Actor,
    schedule: str | ReportSchedule,
    every: str | None = None,
    format: str | None = None,
    parameters: Mapping[str, Value] | None = None,
    mail: Sequence[str] | None = None,
) -> ScheduleShape:
    """Change how often a report is made, as what, with which parameters, or to whom it goes; None leaves it.

    It takes hold with the next report. With another rhythm, periods that end from now on are made. Whoever
    gives `mail` names all of its addresses. The history has what it was and what it is.

    Raises:
        NotFoundError: there is no such schedule.
        InvalidInputError: the rhythm, the format, a parameter or an address is invalid.
    """
    found = find(session, actor=actor, schedule=schedule, lock=True)
    fields: dict[str, Any] = {
        "every": every and lookup.label(ReportRhythm, every, field="every"),
        "format": format and lookup.label(ScheduleFormat, format, field="format"),
        "parameters": _parameters(found.notebook, parameters),
        "recipients": None if mail is None else _recipients(mail),
    }
    was = {name: getattr(found, name) for name in fields}
    changed = {n: value for n, value in fields.items() if value not in (None, was[n])}
    if "every" in changed:
        changed |= {"since": func.clock_now()}
    if mail is not None:
        changed |= {"named_by_id": actor.organization_id}
    _change(session, found, **changed)
    told = {CALLED.get(name, name): changed[name] for name in fields if name in changed}
    before = {CALLED.get(name, name): was[name] for name in fields if name in changed}
    if told:
        _remember(session, actor, "report schedule edited", found, **told, was=before)
    return show(session, actor=actor, schedule=str(found.id))


def _parameters(notebook: str, parameters: Mapping[str, Value] | None) -> Values | None:
    if parameters is None:
        return None
    return taken(parameters, known=rendering.own_parameters(notebook), notebook=notebook)


def _recipients(mail: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(addresses.address(one, field="mail") for one in mail))


def listing(
    session: Session, *, actor: Actor, organization: str | None = None
) -> list[ScheduleShape]:
    """List the schedules of the actor's organizations, or of one, oldest first; without removed ones."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    statement = _rows(actor).order_by(ReportSchedule.id)
    if organization:
        owner = organizations.find(session, actor=actor, name=organization)
        statement = statement.where(ReportSchedule.organization_id == owner.id)
    return [_shape(row) for row in session.execute(statement)]


def show(session: Session, *, actor: Actor, schedule: str | ReportSchedule) -> ScheduleShape:
    """Show a schedule: what is made, when next, and who gets it."""
    found = find(session, actor=actor, schedule=schedule)
    return _shape(session.execute(_rows(actor).where(ReportSchedule.id == found.id)).one())


def pause(session: Session, *, actor: Actor, schedule: str) -> ScheduleShape:
    """Have no more reports made for now; again changes nothing."""
    found = find(session, actor=actor, schedule=schedule, lock=True)
    if found.paused_at is None:
        _change(session, found, paused_at=func.clock_now())
        _remember(session, actor, "report schedule paused", found)
    return show(session, actor=actor, schedule=schedule)


def resume(session: Session, *, actor: Actor, schedule: str) -> ScheduleShape:
    """Have reports made again, about periods that end from now on; again changes nothing."""
    found = find(session, actor=actor, schedule=schedule, lock=True)
    if found.paused_at is not None:
        _change(session, found, paused_at=None, since=func.clock_now())
        _remember(session, actor, "report schedule resumed", found)
    return show(session, actor=actor, schedule=schedule)


def remove(session: Session, *, actor: Actor, schedule: str) -> ScheduleShape:
    """Have no more reports made, and mail none that waits; gives what it was. What was made stays."""
    found = find(session, actor=actor, schedule=schedule, lock=True)
    was = show(session, actor=actor, schedule=schedule)
    _change(session, found, removed_at=func.clock_now(), recipients=[])
    _remember(session, actor, "report schedule removed", found)
    return was | {"next_on": None}


def ask_due(session: Session) -> int:
    """Queue the reports of all schedules for periods that are over; gives their number.

    After an outage the newest missed periods are made up for, each once.
    """
    return len(session.scalars(DUE, {"most": MOST_MISSED, "late": LATE}).all())


def find(
    session: Session, *, actor: Actor, schedule: str | ReportSchedule, lock: bool = False
) -> ReportSchedule:
    """Find a schedule of the actor's organizations by id, unless it was removed."""
    actor.require(Role.MANAGER, Role.FINANCE, Role.ANALYST)
    return lookup.find(
        session,
        ReportSchedule,
        thing="schedule",
        name=schedule,
        within=_within(actor),
        lock=lock,
    )


def _within(actor: Actor) -> list[ColumnElement[bool]]:
    return [
        actor.sees(ReportSchedule.organization_id),
        keeping.reads(actor, ReportSchedule.notebook),
        ReportSchedule.removed_at.is_(None),
    ]


def _change(session: Session, found: ReportSchedule, **values: Any) -> None:
    for name, value in values.items():
        setattr(found, name, value)
    session.flush()


def _rows(actor: Actor) -> Select[Any]:
    step = cast(func.concat("1 ", cast(ReportSchedule.every, Text)), Interval)
    now = func.timezone(ZONE, func.clock_now())
    begun = func.date_trunc(cast(ReportSchedule.every, Text), now)
    last = (
        select(func.max(ReportRun.id))
        .where(ReportRun.schedule_id == ReportSchedule.id)
        .scalar_subquery()
    )
    columns: list[Any] = [
        ReportSchedule,
        Organization.name.label("organization"),
        cast(begun + step, Date).label("next_on"),
        last.label("last_report"),
    ]
    return (
        select(*columns)
        .join(Organization, Organization.id == ReportSchedule.organization_id, isouter=True)
        .where(*_within(actor))
        .execution_options(populate_existing=True)
    )


def _shape(row: Selected) -> ScheduleShape:
    made: ReportSchedule = row.ReportSchedule
    return {
        "id": str(made.id),
        "notebook": made.notebook,
        "organization": row.organization,
        "every": made.every,
        "format": made.format,
        "parameters": made.parameters,
        "mail": made.recipients,
        "asked_by": made.asked_by,
        "created_at": made.created_at,
        "paused_at": made.paused_at,
        "next_on": None if made.paused_at else row.next_on,
        "last_report": row.last_report and str(row.last_report),
    }


def _remember(
    session: Session, actor: Actor, action: str, found: ReportSchedule, **detail: object
) -> None:
    history.remember(session, actor, action, found, notebook=found.notebook, **detail)
