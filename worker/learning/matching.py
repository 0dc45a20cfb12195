"""People who are found by pieces of their address and name, in bounded time."""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased
from typing_extensions import TypedDict

from worker.database.searching import spoken
from worker.tables.learning import Learner
from worker.tenancy import addresses
from worker.tenancy.actors import Actor, Role

# The learners in sight among whom pieces are looked for; whole addresses are among all.
LATEST = 20_000


class PersonFound(TypedDict):
    """A person who fits what was typed."""

    email: str
    """The person's e-mail address."""
    name: str
    """The person's name; empty if it is not known."""


def matching(session: Session, *, actor: Actor, search: str, limit: int) -> list[PersonFound]:
    """Find people of the actor's organizations by pieces of address and name, or by a whole address."""
    actor.require(Role.MANAGER, Role.ANALYST)
    seen = select(Learner).where(actor.sees(Learner.organization_id), Learner.erased_at.is_(None))
    latest = aliased(Learner, seen.order_by(Learner.id.desc()).limit(LATEST).subquery())
    pieces = select(latest.id).where(*spoken(search, latest.email_lower, latest.name))
    exact = select(Learner.id).where(Learner.email_lower.in_(addresses.spellings(search)))
    either = or_(Learner.id.in_(exact), Learner.id.in_(pieces.limit(limit)))
    people = session.scalars(seen.where(either).order_by(Learner.email_lower).limit(limit))
    found = {person.email_lower: person for person in people}
    return [{"email": person.email, "name": person.name} for person in found.values()]
