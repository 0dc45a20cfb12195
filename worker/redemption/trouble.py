"""“My key does not work”: a key's state, its attempts, and what would happen now (K10)."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.languages import readers
from worker.pools import keys, replacing
from worker.pools.replacing import KeyInLine
from worker.redemption import attempts, deciding, outcomes
from worker.redemption.attempts import RedemptionShape
from worker.redemption.outcomes import Facts
from worker.tables.labels import RedemptionOutcome
from worker.tables.learning import Learner
from worker.tables.pools import Key, Pool
from worker.tables.tenancy import Organization
from worker.tenancy import addresses, organizations
from worker.tenancy.actors import Actor


class Verdict(TypedDict):
    """What would happen if a learner redeemed a key now."""

    learner: str
    """The learner, by e-mail address."""
    organization: str
    """Where the learner is, or would be."""
    outcome: RedemptionOutcome
    """The outcome of the redemption."""
    message: str
    """That outcome in a sentence for the learner: in the language asked for, else their organization's."""
    language: str
    """The language of that sentence."""
    access_expires_at: datetime | None
    """When access would end; null if there would be none."""


class KeyShown(KeyInLine):
    """A key with the attempts on it."""

    attempts: list[RedemptionShape]
    """The attempts to redeem it, newest first."""
    dry_run: Verdict | None
    """What would happen now; null if no learner is named."""


def show(
    session: Session,
    *,
    actor: Actor,
    code: str,
    dry_run: str | None = None,
    organization: str | None = None,
) -> KeyShown:
    """Show a key with its attempts and, for a learner, what would happen if they redeemed it now.

    `dry_run` is the learner's e-mail address. Their organization is `organization`, else the one
    that knows them, else the pool's owner.

    Raises:
        InvalidInputError: `dry_run` is not an e-mail address.
        NotFoundError: no key of the actor's organizations has the code; the message says if it is
            mistyped.
    """
    found = keys.find(session, actor=actor, code=code)
    return {
        **replacing.shown(session, key_id=found.id),
        "attempts": attempts.on_key(session, actor=actor, key_id=found.id),
        "dry_run": _dry_run(session, actor, found, dry_run, organization) if dry_run else None,
    }


def _dry_run(
    session: Session, actor: Actor, key: Key, email: str, organization: str | None
) -> Verdict:
    learner = addresses.address(email, field="as")
    if organization is not None:
        home = organizations.find(session, actor=actor, name=organization)
    else:
        home = _home(session, actor, key, learner)
    decision = deciding.decide_one(session, code=key.code, email=learner, organization_id=home.id)
    facts = Facts(
        home.time_zone, now=decision.at, ends=decision.access_expires_at, limit=decision.limit
    )
    book = readers.book_for(home.locale)
    return {
        "learner": learner,
        "organization": home.name,
        "outcome": RedemptionOutcome(decision.outcome),
        "message": outcomes.message(book, decision.outcome, facts),
        "language": book.language,
        "access_expires_at": decision.access_expires_at,
    }


def _home(session: Session, actor: Actor, key: Key, email: str) -> Organization:
    owner = select(Pool.organization_id).where(Pool.id == key.pool_id).scalar_subquery()
    known = session.scalars(
        select(Organization)
        .join(Learner, Learner.organization_id == Organization.id)
        .where(Learner.email_lower == email, actor.sees(Organization.id))
        .order_by((Organization.id == owner).desc(), Organization.id)
        .limit(1)
    ).first()
    return known or session.scalars(select(Organization).where(Organization.id == owner)).one()
