"""The history: an append-only log of who did what to which thing, and when."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, Unpack

from sqlalchemy import Select, Text, and_, cast, func, insert, literal, or_, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.database import lookup
from worker.database.filters import ListFilters
from worker.database.filters import by as chosen_by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged, within
from worker.database.sweeping import Sweep, Swept
from worker.tables.tenancy import History, Organization
from worker.tenancy.actors import Actor, Role


class Act(TypedDict):
    """One entry: what somebody did to one thing."""

    id: Id
    """The act's id."""
    at: datetime
    """When it was done."""
    actor: str
    """Who did it, such as `token 7 (shop)`, `user ann@example.com` or `schedule`."""
    organization: str | None
    """The organization that the thing belongs to; null if none."""
    action: str
    """What was done, such as `pool paused`."""
    thing: str
    """The kind of thing, such as `pool`."""
    thing_id: Id
    """The thing's id."""
    detail: dict[str, object]
    """What changed, from what, and why."""


class Owned(Protocol):
    """A row that belongs to an organization, or to the operator."""

    __tablename__: str

    @property
    def id(self) -> int:
        """Its id."""

    @property
    def organization_id(self) -> int | None:
        """Whose it is."""


# Things that are called otherwise than their tables.
THINGS = {"console_user": "user", "report_run": "report", "report_schedule": "schedule"}


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which acts."""

    organization: str | None = chosen_by("What was done in one organization.")
    thing: str | None = chosen_by("Such as pool or assignment.", longest=40)
    thing_id: int | None = chosen_by("The thing's id.")
    action: str | None = chosen_by("Such as “pool paused”.", longest=40)
    pool: int | None = chosen_by(
        "What was done to a pool, its keys, batches and distributions; its id."
    )
    by: str | None = chosen_by("Who, as the list tells it, or their e-mail address.", longest=320)
    since: datetime | None = chosen_by("At this time or later.")
    until: datetime | None = chosen_by("Before this time.")


ALL = Filters()


HEADER = "at,actor,organization,action,thing,thing_id,detail\n"
LINES_PER_BLOCK = 2_000  # lines per block of an export

OLD = Sweep("history", "at")
# Sign-ins, and what is tried on the way in; what changes how somebody signs in is none of them.
SIGN_INS = (
    "signed in", "signed out", "sign-in failed", "sign-in locked", "sign-in refused",
    "confirmation failed", "confirmation refused", "password link asked for", "password link refused",
    "second factor given", "second factor failed", "second factor replaced by a recovery code",
)  # fmt: skip
OLD_SIGN_INS = [Sweep("history", "at", alike=f"action = '{action}'") for action in SIGN_INS]
FORGETTING = text("SELECT set_config('keypool.forgetting', 'on', true)")  # the trigger's permission

COLUMNS = (History, Organization.name.label("organization"))
ACTS = select(*COLUMNS).join_from(History, Organization, isouter=True)


def remember(session: Session, actor: Actor, action: str, row: Owned, /, **detail: object) -> None:
    """Record an act on what a row is, as `record` does; it is kept with the row's organization."""
    thing = row.__tablename__
    record(
        session,
        actor=actor,
        action=action,
        thing=THINGS.get(thing, thing),
        thing_ids=row.id,
        organization_id=row.organization_id,
        **detail,
    )


def record(
    session: Session,
    *,
    actor: Actor,
    action: str,
    thing: str,
    thing_ids: int | list[int] | Mapping[int, Mapping[str, object]],
    organization_id: int | None = None,
    **detail: object,
) -> None:
    """Record an act on one thing or many, in the transaction of the act itself.

    `detail` is stored as JSON: what changed, from what, how many, for whom, why; `thing_ids` may
    give what is of one thing alone, by its id. It must not have keys' codes or secrets. An act on a part
    of a pool has the pool's id as `pool`.
    """
    ids = [thing_ids] if isinstance(thing_ids, int) else list(thing_ids)
    own = thing_ids if isinstance(thing_ids, Mapping) else {}
    details = [{**detail, **own.get(one, {})} for one in ids]
    columns = ["actor", "organization_id", "action", "thing", "detail", "thing_id"]
    session.execute(
        insert(History).from_select(
            columns,
            select(
                literal(actor.name),
                literal(organization_id),
                literal(action),
                literal(thing),
                func.jsonb_array_elements(literal(details, JSONB)),
                func.unnest(ids),
            ),
        )
    )


def of(session: Session, *, thing: str, thing_id: int) -> list[Act]:
    """List the acts on one thing, oldest first."""
    return of_some(session, thing=thing, thing_ids=[thing_id])


def of_some(session: Session, *, thing: str, thing_ids: Sequence[int]) -> list[Act]:
    """List the acts on some things of a kind, oldest first."""
    acts = ACTS.where(History.thing == thing, History.thing_id.in_(thing_ids))
    return [shape(row) for row in session.execute(acts.order_by(History.id))]


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[Act]:
    """List who did what in the actor's organizations, newest first, a page at a time.

    Only the operator sees acts on what belongs to no organization, such as a course.
    """
    statement = _chosen(session, actor, filters).add_columns(*COLUMNS)
    return paged(session, statement, by=History.id, shape=shape, newest_first=True, **page)


def export(session: Session, *, actor: Actor, filters: Filters = ALL) -> Iterator[bytes]:
    """Give the history as CSV, oldest first, in blocks of many lines and in constant memory.

    It takes the same filters as `listing`. No cell runs as a formula in a spreadsheet.
    """
    cells = (
        History.at, History.actor, Organization.name, History.action, History.thing,
        cast(History.thing_id, Text), cast(History.detail, Text),
    )  # fmt: skip
    line = func.concat_ws(",", *map(func.csv_cell, cells))
    lines = _chosen(session, actor, filters).add_columns(line).order_by(History.id)
    return _blocks(session, lines)


def shape(row: Selected) -> Act:
    """Give an act's public fields."""
    act: History = row.History
    return {
        "id": str(act.id),
        "at": act.at,
        "actor": act.actor,
        "organization": row.organization,
        "action": act.action,
        "thing": act.thing,
        "thing_id": str(act.thing_id),
        "detail": act.detail,
    }


def _chosen(session: Session, actor: Actor, filters: Filters) -> Select[Any]:
    actor.require(Role.MANAGER)
    seen = actor.sees(History.organization_id)
    statement = select().select_from(History).join(Organization, isouter=True).where(seen)
    named = filters.organization
    equal = {
        History.organization_id: None if named is None else _organization(session, actor, named),
        History.thing: filters.thing,
        History.thing_id: filters.thing_id,
        History.action: filters.action,
    }
    statement = statement.where(
        *(column == value for column, value in equal.items() if value is not None)
    )
    if filters.by is not None:
        who = filters.by.strip()
        statement = statement.where(History.actor.in_([who, f"user {who}", f"user {who.lower()}"]))
    if filters.pool is not None:
        itself = and_(History.thing == "pool", History.thing_id == filters.pool)
        part = History.detail["pool"].astext == str(filters.pool)
        statement = statement.where(or_(itself, part))
    return statement.where(*within(History.at, filters.since, filters.until))


def _organization(session: Session, actor: Actor, name: str) -> int:
    named, seen = Organization.name, [actor.sees(Organization.id)]
    return lookup.find(
        session, Organization, thing="organization", name=name, named=named, within=seen
    ).id


def _blocks(session: Session, lines: Select[Any]) -> Iterator[bytes]:
    yield HEADER.encode()
    rows = session.execute(lines, execution_options={"yield_per": LINES_PER_BLOCK})
    for block in rows.scalars().partitions(LINES_PER_BLOCK):
        yield "".join(f"{line}\n" for line in block).encode()


def remove_old(
    session: Session, *, kept: timedelta, after: int, limit: int, sweep: Sweep = OLD
) -> Swept:
    """Remove entries that are older than `kept`, of the next `limit` after an id."""
    session.execute(FORGETTING)
    return sweep.remove(session, kept=kept, after=after, limit=limit)


REMOVE_OLD_SIGN_INS = [partial(remove_old, sweep=sweep) for sweep in OLD_SIGN_INS]
