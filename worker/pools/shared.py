"""Pools that are shared with an organization by those above it (P4): what it may know of them.

Of the owner it learns nothing: neither who it is, nor what other learners redeemed, nor any figure.
"""

from datetime import datetime
from typing import Unpack

from sqlalchemy import BigInteger, column, func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import days, errors
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged
from worker.tables.labels import AssignmentStatus
from worker.tables.tenancy import Organization
from worker.tenancy import organizations
from worker.tenancy.actors import Actor, Role


class SharedPool(TypedDict):
    """A pool that is shared with an organization by one above it."""

    id: Id
    """The pool's id."""
    name: str
    """The name that its owner gave it."""
    course: str
    """The course, by code."""
    starts_at: datetime
    """From when keys can be redeemed."""
    expires_at: datetime
    """Until when keys can be redeemed (exclusive)."""
    keys_work_until: str
    """The end in words, in the time zone of the organization that it is shared with."""


class SharedRedemption(TypedDict):
    """A key of a shared pool that one of the organization's own learners redeemed."""

    assignment: Id
    """The course assignment that it gave."""
    key: str
    """The key."""
    learner: str
    """The learner's e-mail address."""
    organization: str
    """The learner's organization."""
    status: AssignmentStatus
    """Whether the assignment is active."""
    redeemed_at: datetime
    """When the key was redeemed."""
    expires_at: datetime
    """When access ends, or ended."""


def listing(session: Session, *, actor: Actor, organization: str) -> list[SharedPool]:
    """List the pools that are shared with an organization, those that end last first.

    Raises:
        NotFoundError: the actor sees no such organization.
    """
    found = _organization(session, actor, organization)
    shared = func.shared_pool(found.id).table_valued(
        "pool_id", "name", "course", "starts_at", "expires_at"
    )
    rows = session.execute(select(shared).order_by(shared.c.expires_at.desc(), shared.c.pool_id))
    return [_pool(row, found.time_zone) for row in rows]


def show(session: Session, *, actor: Actor, organization: str, pool: str) -> SharedPool:
    """Give a pool that is shared with an organization, by its name or id, as `lookup.find` does.

    Raises:
        NotFoundError: no such pool is shared with it, or the actor sees no such organization.
        AmbiguousError: the name fits several pools.
    """
    told = listing(session, actor=actor, organization=organization)
    named = [one for one in told if one["name"] == pool.strip()]
    meant = named or [one for one in told if one["id"] == pool]
    if not meant:
        raise errors.NotFoundError(f"There is no pool “{pool}” in your organizations.")
    if len(meant) > 1:
        raise errors.AmbiguousError("pool", pool, [one["id"] for one in meant])
    return meant[0]


def redemptions(
    session: Session, *, actor: Actor, organization: str, pool: str, **page: Unpack[Paging]
) -> Page[SharedRedemption]:
    """List what an organization's learners, and those below it, redeemed of a shared pool, newest first.

    Raises:
        NotFoundError, AmbiguousError: as `show` does.
    """
    shared = show(session, actor=actor, organization=organization, pool=pool)
    owner = _organization(session, actor, organization)
    redeemed = func.shared_redemption(owner.id, int(shared["id"])).table_valued(
        column("assignment_id", BigInteger),
        "code", "email", "organization", "status", "redeemed_at", "expires_at",
    )  # fmt: skip
    by = redeemed.c.assignment_id
    return paged(session, select(redeemed), by=by, shape=_redemption, newest_first=True, **page)


def _organization(session: Session, actor: Actor, name: str) -> Organization:
    actor.require(Role.MANAGER, Role.ANALYST)
    return organizations.find(session, actor=actor, name=name)


def _pool(row: Selected, zone: str) -> SharedPool:
    return {
        "id": str(row.pool_id),
        "name": row.name,
        "course": row.course,
        "starts_at": row.starts_at,
        "expires_at": row.expires_at,
        "keys_work_until": days.end_in_words(row.expires_at, zone),
    }


def _redemption(row: Selected) -> SharedRedemption:
    return {
        "assignment": str(row.assignment_id),
        "key": row.code,
        "learner": row.email,
        "organization": row.organization,
        "status": AssignmentStatus(row.status),
        "redeemed_at": row.redeemed_at,
        "expires_at": row.expires_at,
    }
