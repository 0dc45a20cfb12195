"""Attempts to redeem: each is kept with its outcome, refused ones too (R5)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from sqlalchemy import ColumnElement, Select, and_, case, func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.database.filters import ListFilters, by
from worker.database.lookup import Id
from worker.database.paging import Page, Paging, Selected, paged, within
from worker.pools import keys, pools
from worker.tables.labels import GRANTED, RedemptionOutcome
from worker.tables.pools import Key
from worker.tables.redemption import Event, Redemption
from worker.tables.tenancy import Organization, OrganizationAncestry
from worker.tenancy import addresses
from worker.tenancy.actors import Actor


class RedemptionShape(TypedDict):
    """One attempt to redeem a key."""

    event: Id
    """The event (webhook message) that requested it."""
    key: str | None
    """The key's code; for an unknown key what was sent, null after that was blanked."""
    pool: Id | None
    """The key's pool; null for an unknown key."""
    learner: str
    """The learner's e-mail address; masked for a learner from outside the owner's organizations."""
    organization: str | None
    """The learner's organization; null where the learner is masked."""
    outcome: RedemptionOutcome
    """What was decided."""
    received_at: datetime
    """When the event was received."""
    assignment: Id | None
    """The course assignment that it gave, or that the learner had already."""


@dataclass(frozen=True)
class Filters(ListFilters):
    """Which attempts."""

    pool: str | None = by("Those on one pool's keys.")
    outcome: RedemptionOutcome | None = by("Those that came to this.")
    refused: bool = by("Only those that spent nothing and gave nothing.", default=False)
    learner: str | None = by("One learner's, by e-mail address.", longest=320)
    label: str | None = by("Those on keys that carry this label, or all of several: a, b.")
    since: datetime | None = by("Received at this time or later.")
    until: datetime | None = by("Received before this time.")


ALL = Filters()


def listing(
    session: Session, *, actor: Actor, filters: Filters = ALL, **page: Unpack[Paging]
) -> Page[RedemptionShape]:
    """List attempts that the actor may see, newest first; a stranger's learner is masked (R5)."""
    statement = _attempts(actor).where(*_chosen(session, actor, filters))
    return paged(session, statement, by=Redemption.event_id, shape=shape, newest_first=True, **page)


def of_learner(session: Session, *, actor: Actor, email: str, limit: int) -> list[RedemptionShape]:
    """List the latest attempts of a learner, newest first, masked as R5 says."""
    spelled = addresses.spellings(email)
    statement = _attempts(actor).where(Redemption.learner_email_lower.in_(spelled))
    rows = session.execute(statement.order_by(Redemption.event_id.desc()).limit(limit))
    return [shape(row) for row in rows]


def on_key(session: Session, *, actor: Actor, key_id: int) -> list[RedemptionShape]:
    """List the attempts on one key, newest first, masked as R5 says."""
    statement = _attempts(actor).where(Redemption.key_id == key_id)
    return [shape(row) for row in session.execute(statement.order_by(Redemption.event_id.desc()))]


def shape(row: Selected) -> RedemptionShape:
    """Give an attempt's public fields."""
    attempt: Redemption = row.Redemption
    return {
        "event": str(attempt.event_id),
        "key": row.code,
        "pool": str(attempt.pool_id) if attempt.pool_id else None,
        "learner": row.learner,
        "organization": row.organization if row.known else None,
        "outcome": attempt.outcome,
        "received_at": attempt.received_at,
        "assignment": str(attempt.assignment_id) if attempt.assignment_id else None,
    }


def _chosen(session: Session, actor: Actor, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.pool is not None:
        yield Redemption.pool_id == pools.find(session, actor=actor, pool=filters.pool).id
    if filters.outcome is not None:
        yield Redemption.outcome == filters.outcome
    if filters.refused:
        yield Redemption.outcome.not_in(GRANTED)
    if filters.learner is not None:
        spelled = addresses.asked(filters.learner, field="learner")
        yield Redemption.learner_email_lower.in_(spelled)
    if filters.label is not None:
        yield keys.labelled(filters.label)
    yield from within(Redemption.received_at, filters.since, filters.until)


def _attempts(actor: Actor) -> Select[Any]:
    """Select attempts; `known` is whether the learner is in the owner's tree, else masked (R5)."""
    known = OrganizationAncestry.ancestor_id.is_not(None)
    email = Redemption.learner_email
    return (
        select(
            Redemption,
            case((Key.id.is_not(None), Key.code), else_=Event.data["key"].astext).label("code"),
            Organization.name.label("organization"),
            known.label("known"),
            case((known, email), else_=func.masked_address(email)).label("learner"),
        )
        # The web's login cannot see a stranger's event and organization.
        .join(Event, Event.id == Redemption.event_id, isouter=True)
        .join(Organization, Organization.id == Redemption.learner_organization_id, isouter=True)
        .join(Key, Key.id == Redemption.key_id, isouter=True)
        .join(
            OrganizationAncestry,
            and_(
                OrganizationAncestry.ancestor_id == Redemption.organization_id,
                OrganizationAncestry.descendant_id == Redemption.learner_organization_id,
            ),
            isouter=True,
        )
        .where(actor.sees(Redemption.organization_id))
    )
