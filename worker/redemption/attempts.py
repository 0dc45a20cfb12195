"""Attempts to redeem: each is kept with its outcome, refused ones too (R5)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, case, select
from sqlalchemy.orm import Session

from worker.database import lookup
from worker.database.paging import Page, paged, within
from worker.pools import pools
from worker.redemption.outcomes import masked
from worker.tables.labels import RedemptionOutcome
from worker.tables.pools import Key
from worker.tables.redemption import Event, Redemption
from worker.tables.tenancy import Organization, OrganizationAncestry
from worker.tenancy.actors import Actor


def listing(
    session: Session,
    *,
    actor: Actor,
    pool: str | None = None,
    outcome: str | None = None,
    learner: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    sort: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page:
    """List attempts that the actor may see, newest first; a stranger's learner is masked (R5).

    `since` and `until` bound when they were received; the latter is not in the range.
    """
    wanted = _attempts(actor)
    if pool is not None:
        wanted = wanted.where(Redemption.pool_id == pools.find(session, actor=actor, pool=pool).id)
    if outcome is not None:
        wanted = wanted.where(
            Redemption.outcome == lookup.label(RedemptionOutcome, outcome, field="outcome")
        )
    if learner is not None:
        wanted = wanted.where(Redemption.learner_email_lower == learner.strip().lower())
    wanted = wanted.where(*within(Redemption.received_at, since, until))
    return paged(
        session,
        wanted,
        by=Redemption.event_id,
        after=after,
        limit=limit,
        shape=shape,
        newest_first=True,
        sort=sort,
    )


def on_key(session: Session, *, actor: Actor, key_id: int) -> list[dict[str, Any]]:
    """List the attempts on one key, newest first, masked as R5 says."""
    wanted = _attempts(actor).where(Redemption.key_id == key_id)
    return [shape(row) for row in session.execute(wanted.order_by(Redemption.event_id.desc()))]


def shape(row: Any) -> dict[str, Any]:
    """Give an attempt's public fields."""
    return {
        "event": str(row.Redemption.event_id),
        "key": row.code,
        "pool": row.Redemption.pool_id and str(row.Redemption.pool_id),
        "learner": row.Redemption.learner_email
        if row.known
        else masked(row.Redemption.learner_email),
        "organization": row.organization if row.known else None,
        "outcome": row.Redemption.outcome,
        "received_at": row.Redemption.received_at,
        "assignment": row.Redemption.assignment_id and str(row.Redemption.assignment_id),
    }


def _attempts(actor: Actor) -> Select[Any]:
    """Select attempts; `known` tells whether the learner is within the seeing organization's tree."""
    return (
        select(
            Redemption,
            case((Key.id.is_not(None), Key.code), else_=Event.data["key"].astext).label("code"),
            Organization.name.label("organization"),
            OrganizationAncestry.ancestor_id.is_not(None).label("known"),
        )
        # A stranger's event and organization are out of the sight of the web's login.
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
