"""The first start: while nobody can sign in, a one-time link makes the first operator."""

import secrets
from datetime import timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from worker import errors
from worker.database.connections import clock_now
from worker.tables.tenancy import FirstStart, Organization
from worker.tenancy.actors import Actor
from worker.tenancy.sessions import digest

LASTS = timedelta(days=7)


def somebody_can_sign_in(session: Session) -> bool:
    """Say whether anybody chose a password, or is vouched for. Works before any tenancy is set."""
    return bool(session.scalar(select(func.somebody_can_sign_in())))


def mint(session: Session) -> str | None:
    """Make the link's token in place of a former one, and keep its hash; None where somebody can sign in."""
    if somebody_can_sign_in(session):
        return None
    clear = secrets.token_urlsafe(32)
    ends_at = clock_now(session) + LASTS
    session.execute(update(FirstStart).values(hash=digest(clear), ends_at=ends_at))
    return clear


def path(clear: str) -> str:
    """Give where a token is used, below keypool's address."""
    return f"/console/first/{clear}"


def holds(session: Session, clear: str) -> bool:
    """Say whether a link holds. Works before any tenancy is set."""
    return bool(session.scalar(select(func.first_start_holds(digest(clear)))))


def begin(session: Session, clear: str, *, email: str, new_hash: str) -> bool:
    """Make the first operator, and say whether the link held. Works before any tenancy is set.

    Raises:
        InvalidInputError: the address is invalid.
        AlreadyExistsError: a user who is no operator has that address.
    """
    made = select(func.make_first_operator(digest(clear), email.strip(), new_hash))
    return bool(session.scalar(made))


def samples(session: Session) -> str:
    """Say how it stands with sample data: possible, wanted, made, or over (there are organizations)."""
    known = session.scalars(select(FirstStart)).one()
    if known.samples_made_at is not None:
        return "made"
    if session.scalar(select(Organization.id).limit(1)) is not None:
        return "over"
    return "possible" if known.samples_wanted_at is None else "wanted"


def ask_for_samples(session: Session, *, actor: Actor) -> None:
    """Ask the worker for sample data; idempotent.

    Raises:
        InvalidInputError: there are organizations: samples do not mix with what is real.
    """
    actor.require()
    stands = samples(session)
    if stands == "over":
        raise errors.InvalidInputError(
            "There are organizations already, and sample data does not mix with what is real. Try it "
            "with a KEYPOOL_HOME of its own."
        )
    if stands == "possible":
        session.execute(update(FirstStart).values(samples_wanted_at=func.clock_now()))
