"""Cancelling an assignment; free of charge if it is soon and the training was not launched (A5)."""

from datetime import timedelta

from sqlalchemy import ColumnElement, Row, and_, exists, func, not_, select, update
from sqlalchemy.orm import Session

from worker import errors
from worker.billing import charges
from worker.learning import assignments
from worker.learning.assignments import AssignmentShown
from worker.tables.labels import AssignmentStatus, KeyState, LaunchOutcome
from worker.tables.learning import Assignment
from worker.tables.pools import Key
from worker.tables.redemption import Launch
from worker.tenancy import history
from worker.tenancy.actors import Actor, Role

FREE_CANCELLING = timedelta(hours=24)


class CancellationPreview(charges.Left):
    """What cancelling an assignment would do, and the amount that is left of its charge."""

    credited: bool
    """Whether the charge is credited and the key can be issued again."""


def cancel(
    session: Session,
    *,
    actor: Actor,
    assignment: str | Assignment,
    retire_key: bool = False,
    reason: str | None = None,
) -> AssignmentShown:
    """Cancel an assignment (A5).

    Within 24 hours of redemption and before any launch, the charge is credited and the key is
    issued again (or retired, if the caller says so). Later a reason is required, nothing is
    credited, and the key is retired.

    Raises:
        AssignmentCancelledError: it was cancelled before.
        ForbiddenError: the key is of a pool outside the actor's organizations.
        InvalidInputError: a late cancellation gives no reason.
    """
    actor.require(Role.MANAGER)
    found = assignments.find(session, actor=actor, assignment=assignment, lock=True)
    if found.status is AssignmentStatus.CANCELLED:
        raise errors.AssignmentCancelledError
    terms = _terms(session, actor, found)
    assignments.require_owner(terms.owned)
    if not terms.undone and not (reason and reason.strip()):
        raise errors.InvalidInputError(
            "More than 24 hours after redemption, or after a launch, cancelling takes a reason.",
            field="reason",
        )
    found.cancelled_at, found.expired_at = func.clock_now(), None
    found.status, found.undone = AssignmentStatus.CANCELLED, terms.undone
    found.cancel_reason = reason and reason.strip()
    session.flush()
    state = KeyState.ISSUED if terms.undone and not retire_key else KeyState.RETIRED
    session.execute(update(Key).where(Key.id == found.key_id).values(state=state))
    if terms.undone:
        charges.give_back(session, assignment=found, reason=reason or "cancelled within 24 hours")
    history.remember(
        session,
        actor,
        "assignment cancelled",
        found,
        learner=found.learner.email,
        pool=str(found.pool_id),
        reason=reason,
        undone=terms.undone,
    )
    return assignments.show(session, actor=actor, assignment=found)


def preview(session: Session, *, actor: Actor, assignment: str) -> CancellationPreview | None:
    """Say what cancelling now would do (A5).

    None if the key is of another organization's pool, because its owner decides.
    """
    found = assignments.find(session, actor=actor, assignment=assignment)
    terms = _terms(session, actor, found)
    if not terms.owned:
        return None
    left = charges.left_of_redemption(session, assignment=found)
    return {"credited": terms.undone, **left}


def told(costs: CancellationPreview | None, *, retired: bool) -> str:
    """Say what a cancellation did whose preview this was; `retired`: its key was not issued again."""
    if not costs or not costs["credited"]:
        return "The assignment is cancelled; nothing is credited, and the key is retired."
    key = "the key is retired" if retired else "the key can be redeemed again"
    return f"The assignment is cancelled; {costs['amount']} {costs['currency']} is credited, and {key}."


def free() -> ColumnElement[bool]:
    """Give the condition for an assignment whose charge is credited if it is cancelled now (A5)."""
    launched = exists().where(
        Launch.assignment_id == Assignment.id, Launch.outcome == LaunchOutcome.LAUNCHED
    )
    return and_(not_(launched), func.clock_now() < Assignment.redeemed_at + FREE_CANCELLING)


def _terms(session: Session, actor: Actor, assignment: Assignment) -> Row[bool, bool]:
    """Say whether the actor sees the pool (`owned`), and whether cancelling credits (`undone`)."""
    owned = assignments.owned(actor, assignment).label("owned")
    terms = select(owned, free().label("undone")).where(Assignment.id == assignment.id)
    return session.execute(terms).one()
