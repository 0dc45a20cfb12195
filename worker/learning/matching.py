"""People who are found by pieces of their address and name, in bounded time."""

from sqlalchemy import CompoundSelect, Select, or_, select, union_all
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
    pieces, exact = _pieces(actor, search).limit(limit), _exact(search)
    either = or_(Learner.id.in_(exact), Learner.id.in_(pieces))
    people = session.scalars(_seen(actor).where(either).order_by(Learner.email_lower).limit(limit))
    found = {person.email_lower: person for person in people}
    return [{"email": person.email, "name": person.name} for person in found.values()]


def ids(actor: Actor, search: str) -> CompoundSelect[int]:
    """Select the learners who are found so."""
    return union_all(_pieces(actor, search), _exact(search))


def _pieces(actor: Actor, search: str) -> Select[int]:
    latest = aliased(Learner, _seen(actor).order_by(Learner.id.desc()).limit(LATEST).subquery())
    return select(latest.id).where(*spoken(search, latest.email_lower, latest.name))


def _exact(search: str) -> Select[int]:
    return select(Learner.id).where(Learner.email_lower.in_(addresses.spellings(search)))


def _seen(actor: Actor) -> Select[Learner]:
    return select(Learner).where(actor.sees(Learner.organization_id), Learner.erased_at.is_(None))
