"""Training key pools: one owner, one course, a window, a content availability."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Unpack

from sqlalchemy import BigInteger, ColumnElement, Select, Text, and_, func, select, text, true
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days, errors
from worker.catalogue import courses
from worker.database import connections, lookup, paging
from worker.database.filters import ListFilters, Sorts, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.database.searching import spoken
from worker.pools import spells
from worker.pools.spells import UnusualShape
from worker.tables.catalogue import Course
from worker.tables.pools import LabelTally, Pool, PoolTally
from worker.tables.tenancy import Organization
from worker.tenancy import history, organizations
from worker.tenancy.actors import Actor, Role


class PoolState(StrEnum):
    """A pool's state: the first that holds (P7), as computed by pool_state in schema.sql."""

    ARCHIVED = "archived"
    PAUSED = "paused"
    SCHEDULED = "scheduled"
    EXPIRED = "expired"
    ACTIVE = "active"


class Figures(TypedDict):
    """A pool's keys by state: issued + redeemed + retired are all of them."""

    issued: int
    """Those that can be redeemed."""
    distributed: int
    """Issued keys that were distributed."""
    redeemed: int
    """Redeemed keys."""
    retired: int
    """Retired keys."""


class LabelFigures(Figures):
    """The keys of a pool that carry a label."""

    label: str
    """The label, as it is written on them."""


class PoolShape(TypedDict):
    """A training key pool."""

    id: Id
    """The pool's id."""
    name: str
    """The name; unique within the organization."""
    organization: str
    """The organization that owns the pool and pays for redemptions, by name."""
    course: str
    """The course, by code."""
    starts_at: datetime
    """From when keys can be redeemed."""
    expires_at: datetime
    """Until when keys can be redeemed (exclusive)."""
    keys_work_until: str
    """The end in words, in the organization's time zone."""
    content_availability_days: int
    """How long access lasts after redemption, in days."""
    share_with_children: bool
    """Whether learners of the owner's descendants may redeem, too."""
    state: PoolState
    """The pool's state now."""
    keys: Figures
    """The numbers of its keys by state."""
    unusual: list[UnusualShape]
    """What is unusual about it now; empty if nothing is."""


FIGURES = ("issued", "distributed", "redeemed", "retired")
MOST_LABELS = 1000  # that a pool's figures tell of

# P7, as it stands now.
STATE = func.pool_state(
    Course.archived_at, Pool.paused_at, Pool.starts_at, Pool.expires_at, func.clock_now()
)


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which pools."""

    sorts: ClassVar[Sorts] = {
        "name": Pool.name,
        "starts_at": Pool.starts_at,
        "expires_at": Pool.expires_at,
    }

    organization: str | None = by("Those that it owns.")
    course: str | None = by("Those of this course.", longest=64)
    state: PoolState | None = by("Those that are so now.")
    search: str | None = by("Pieces of the name, in any order and letter case.", typed="search")
    running_out: bool = by(
        "Only active ones that run out of issued keys within 30 days and before they end, at the pace"
        " of the last 28 days.",
        default=False,
    )
    ending_within: timedelta | None = by(
        "Active ones that end within so many days with issued keys left."
    )


ALL = Filters()

# A pool that is younger than 28 days has its pace of the days since its start.
# MATERIALIZED: each tally is summed once, in one pass.
RUNNING_OUT = text("""
    WITH clock AS MATERIALIZED (SELECT clock_now() AS now),
    lately AS MATERIALIZED (
        SELECT pool_id, sum(attempts) AS redeemed FROM attempt_tally
         WHERE outcome = 'redeemed' AND tried_at > (SELECT now FROM clock) - interval '28 days'
         GROUP BY pool_id),
    stock AS MATERIALIZED (SELECT pool_id, sum(issued) AS issued FROM pool_tally GROUP BY pool_id)
    SELECT pool.id
      FROM clock CROSS JOIN lately
      JOIN pool ON pool.id = lately.pool_id
      JOIN stock ON stock.pool_id = pool.id
     CROSS JOIN LATERAL (
           SELECT greatest(interval '1 day', least(interval '28 days', now - starts_at)) AS watched,
                  least(interval '30 days', expires_at - now) AS ahead) AS time
     WHERE stock.issued * extract(epoch FROM watched) < lately.redeemed * extract(epoch FROM ahead)
""").columns(id=BigInteger)
WITH_KEYS_LEFT = text("""
    SELECT pool_id FROM pool_tally GROUP BY pool_id HAVING sum(issued) > 0
""").columns(pool_id=BigInteger)


def create(
    session: Session,
    *,
    actor: Actor,
    name: str,
    organization: str,
    course: str,
    starts: str,
    expires: str,
    content_availability: int,
    share_with_children: bool = False,
) -> PoolShape:
    """Create a pool; its bare dates are days in its owner's time zone, the last one included.

    Raises:
        InvalidInputError: a date is wrong, the window runs backward, or the availability is out
            of range.
        AlreadyExistsError: the organization has a pool by that name.
        CourseArchivedError: the course is archived.
    """
    actor.require(Role.MANAGER)
    owner = organizations.find(session, actor=actor, name=organization)
    pool = Pool(
        name=name.strip(),
        organization_id=owner.id,
        course_id=courses.find(session, name=course).id,
        starts_at=days.instant(starts, zone=owner.time_zone, field="starts"),
        expires_at=days.instant(expires, zone=owner.time_zone, field="expires", end=True),
        content_availability_days=content_availability,
        share_with_children=share_with_children,
    )
    session.add(pool)
    session.flush()
    history.remember(session, actor, "pool created", pool, name=pool.name)
    return show(session, actor=actor, pool=pool)


def edit(
    session: Session,
    *,
    actor: Actor,
    pool: str | Pool,
    name: str | None = None,
    starts: str | None = None,
    expires: str | None = None,
    content_availability: int | None = None,
    share_with_children: bool | None = None,
) -> PoolShape:
    """Change the given fields of a pool; live assignments keep their access."""
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, pool=pool, lock=True)
    zone = session.get_one(Organization, found.organization_id).time_zone
    changes = {
        "name": name and name.strip(),
        "starts_at": starts and days.instant(starts, zone=zone, field="starts"),
        "expires_at": expires and days.instant(expires, zone=zone, field="expires", end=True),
        "content_availability_days": content_availability,
        "share_with_children": share_with_children,
    }
    fields = {field: value for field, value in changes.items() if value is not None}
    for field, value in fields.items():
        setattr(found, field, value)
    session.flush()
    detail = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in fields.items()}
    history.remember(session, actor, "pool edited", found, **detail)
    return show(session, actor=actor, pool=found)


def pause(session: Session, *, actor: Actor, pool: str | Pool) -> PoolShape:
    """Pause a pool: its keys cannot be redeemed until it is resumed. Idempotent."""
    return _set_paused(session, actor, pool, paused=True)


def resume(session: Session, *, actor: Actor, pool: str | Pool) -> PoolShape:
    """Resume a paused pool: its keys can be redeemed again. Idempotent."""
    return _set_paused(session, actor, pool, paused=False)


def show(session: Session, *, actor: Actor, pool: str | Pool) -> PoolShape:
    """Give a pool with its state now and its keys' figures."""
    found = find(session, actor=actor, pool=pool)
    return shape(session.execute(_rows().where(Pool.id == found.id)).one())


def listing(
    session: Session,
    *,
    actor: Actor,
    filters: Filters = ALL,
    **page: Unpack[Paging],
) -> Page[PoolShape]:
    """List the actor's pools, by default in the order of creation, a page at a time."""
    chosen = [actor.sees(Pool.organization_id), *_chosen(session, actor, filters)]
    found = _found(chosen)
    return paged(
        session, _rows(), by=Pool.id, shape=shape, sorts=Filters.sorts, found=found, **page
    )


def total(session: Session, *, actor: Actor, filters: Filters, most: int | None = None) -> int:
    """Count the pools that the list would show, as `paging.total` does."""
    chosen = [actor.sees(Pool.organization_id), *_chosen(session, actor, filters)]
    return paging.total(session, _found(chosen), most)


def by_label(session: Session, *, actor: Actor, pool: str | Pool) -> Page[LabelFigures]:
    """Give a pool's figures by the labels of its keys, those of the most keys first: up to 1,000.

    A key counts under each of its labels; keys without labels are not counted.
    """
    found = find(session, actor=actor, pool=pool)
    figures = [func.sum(getattr(LabelTally, name)).label(name) for name in FIGURES]
    many = func.sum(LabelTally.issued + LabelTally.redeemed + LabelTally.retired)
    statement = (
        select(LabelTally.label, *figures)
        .where(LabelTally.pool_id == found.id)
        .group_by(LabelTally.label)
        .having(many > 0)
        .order_by(many.desc(), LabelTally.label)
        .limit(MOST_LABELS)
    )
    rows = session.execute(statement)
    return Page([{"label": row.label, **_figures(row)} for row in rows], None)


def find(session: Session, *, actor: Actor, pool: str | Pool, lock: bool = False) -> Pool:
    """Find a pool of the actor's organizations by name or id, or raise NotFoundError.

    It also takes a pool that was found before, and `lock`, as `lookup.find` does.
    """
    return lookup.find(
        session,
        Pool,
        thing="pool",
        name=pool,
        named=Pool.name,
        within=[actor.sees(Pool.organization_id)],
        lock=lock,
    )


def require_giving(session: Session, pool: Pool) -> None:
    """Refuse to distribute keys of a pool whose keys do not work any more (K7).

    Raises:
        PoolOverError: it has expired, or its course is archived.
    """
    refuse_over(session.scalar(select(STATE).join_from(Pool, Course).where(Pool.id == pool.id)))


def refuse_over(state: str | None) -> None:
    """Refuse to distribute keys in a pool's state in which they do not work any more (K7)."""
    if state in (PoolState.EXPIRED, PoolState.ARCHIVED):
        raise errors.PoolOverError


def not_working_yet(state: str, *, starts_at: datetime, zone: str) -> str | None:
    """Say why a pool's keys do not work yet, though they can be distributed (K7); None if they do."""
    if state == PoolState.PAUSED:
        return "The pool is paused: its keys work once it is resumed."
    if state == PoolState.SCHEDULED:
        return f"The pool's keys work from {days.as_typed(starts_at, zone)} on, {zone}."
    return None


def shape(row: Selected) -> PoolShape:
    """Give a pool's public fields, and its end in words."""
    pool = row.Pool
    return {
        "id": str(pool.id),
        "name": pool.name,
        "organization": row.organization,
        "course": row.course,
        "starts_at": pool.starts_at,
        "expires_at": pool.expires_at,
        "keys_work_until": days.end_in_words(pool.expires_at, row.time_zone),
        "content_availability_days": pool.content_availability_days,
        "share_with_children": pool.share_with_children,
        "state": PoolState(row.state),
        "keys": _figures(row),
        "unusual": [spells.shape(spell) for spell in row.unusual or ()],
    }


def _figures(row: Selected) -> Figures:
    return {
        "issued": int(row.issued),
        "distributed": int(row.distributed),
        "redeemed": int(row.redeemed),
        "retired": int(row.retired),
    }


def as_typed(pool: Pool, *, zone: str) -> dict[str, str]:
    """Give a pool's editable fields as people type them, times as days if possible."""
    return {
        "name": pool.name,
        "starts": days.as_typed(pool.starts_at, zone),
        "expires": days.as_typed(pool.expires_at, zone, end=True),
        "content_availability": str(pool.content_availability_days),
        "share": "on" if pool.share_with_children else "",
    }


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.organization is not None:
        owner = organizations.find(session, actor=actor, name=filters.organization)
        yield Pool.organization_id == owner.id
    if filters.course is not None:
        yield Pool.course_id == courses.find(session, name=filters.course).id
    yield from spoken(filters.search, Pool.name)
    now = connections.clock_now(session)
    if filters.state is not None:
        yield _is(filters.state, now)
    if filters.running_out:
        yield and_(_is(PoolState.ACTIVE, now), Pool.id.in_(RUNNING_OUT))
    if filters.ending_within is not None:
        yield Pool.expires_at.between(now, now + filters.ending_within)
        yield and_(_is(PoolState.ACTIVE, now), Pool.id.in_(WITH_KEYS_LEFT))


def _found(chosen: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Select pools without what is told of them, to be counted."""
    return select(Pool.id).join(Course).where(*chosen)


def _is(state: PoolState, now: datetime) -> ColumnElement[bool]:
    """Give the condition that a pool is in a state (P7): for many pools, which STATE is too slow for."""
    at = func.pool_state(
        Course.archived_at, Pool.paused_at, Pool.starts_at, Pool.expires_at, now, type_=Text
    )
    return at == state.value


def _rows() -> Select[Any]:
    tally = (
        select(*(func.coalesce(func.sum(getattr(PoolTally, f)), 0).label(f) for f in FIGURES))
        .where(PoolTally.pool_id == Pool.id)
        .lateral()
    )
    return (
        select(
            Pool,
            Organization.name.label("organization"),
            Organization.time_zone,
            Course.code.label("course"),
            STATE.label("state"),
            *(getattr(tally.c, f) for f in FIGURES),
            spells.UNUSUAL.label("unusual"),
        )
        .join_from(Pool, Organization)
        .join(Course)
        .join(tally, onclause=true())
    )


def _set_paused(session: Session, actor: Actor, pool: str | Pool, *, paused: bool) -> PoolShape:
    actor.require(Role.MANAGER)
    found = find(session, actor=actor, pool=pool, lock=True)
    if (found.paused_at is not None) != paused:
        found.paused_at = func.clock_now() if paused else None
        session.flush()
        history.remember(session, actor, "pool paused" if paused else "pool resumed", found)
    return show(session, actor=actor, pool=found)
