"""“My key does not work”: a key's state, its attempts, and what would happen now (K10)."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.pools import keys, replacing
from worker.redemption import attempts, deciding
from worker.tables.learning import Learner
from worker.tables.pools import Key, Pool
from worker.tables.tenancy import Organization
from worker.tenancy import organizations
from worker.tenancy.actors import Actor


def show(
    session: Session,
    *,
    actor: Actor,
    code: str,
    dry_run: str | None = None,
    organization: str | None = None,
) -> dict[str, Any]:
    """Show a key with its attempts and, for a learner, what would happen if they redeemed it now.

    `dry_run` is the learner's e-mail address; their organization is the one named, else where
    they are known, else the pool's owner.

    Raises:
        NotFoundError: the code is of no key in the actor's organizations; the message says so
            where it is mistyped.
    """
    found = keys.find(session, actor=actor, code=code)
    shown = keys.shape(session.execute(keys.ROWS.where(Key.id == found.id)).one())
    shown |= replacing.around(session, key_id=found.id)
    shown["attempts"] = attempts.on_key(session, actor=actor, key_id=found.id)
    if dry_run is not None:
        shown["dry_run"] = _dry_run(session, actor, found, dry_run, organization)
    return shown


def _dry_run(
    session: Session, actor: Actor, key: Key, email: str, organization: str | None
) -> dict[str, Any]:
    if organization is not None:
        home = organizations.find(session, actor=actor, name=organization)
    else:
        home = _home(session, actor, key, email)
    decision = deciding.decide_one(
        session, code=key.code, email=email.strip(), organization_id=home.id
    )
    return {
        "learner": email.strip(),
        "organization": home.name,
        "outcome": decision.outcome,
        "message": decision.message,
        "access_expires_at": decision.access_expires_at,
    }


def _home(session: Session, actor: Actor, key: Key, email: str) -> Organization:
    owner = select(Pool.organization_id).where(Pool.id == key.pool_id).scalar_subquery()
    known = session.scalars(
        select(Organization)
        .join(Learner, Learner.organization_id == Organization.id)
        .where(Learner.email_lower == email.strip().lower(), actor.sees(Organization.id))
        .order_by((Organization.id == owner).desc(), Organization.id)
        .limit(1)
    ).first()
    return known or session.scalars(select(Organization).where(Organization.id == owner)).one()
