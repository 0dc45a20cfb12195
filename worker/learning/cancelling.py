"""Cancelling: an assignment is taken back; for nothing, if it is soon and nobody trained (A5)."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker import errors
from worker.billing import charges
from worker.database.connections import clock_now
from worker.learning import assignments
from worker.learning.assignments import AssignmentShown
from worker.tables.billing import Charge
from worker.tables.labels import AssignmentStatus, KeyState
from worker.tables.learning import Assignment
from worker.tables.pools import Key
from worker.tables.redemption import Launch
from worker.tenancy.actors import Actor, Role

FREE_CANCELLING = timedelta(hours=24)


class CancellationPreview(charges.Left):
    """What cancelling an assignment would do, with what is left of its charge."""

    credited: bool
    """Whether the charge is credited and the key can be issued again."""


def cancel(
    session: Session,
    *,
    actor: Actor,
    assignment: str,
    retire_key: bool = False,
    reason: str | None = None,
) -> AssignmentShown:
    """Cancel an assignment (A5).

    Within 24 hours of redemption and before any launch, the charge is credited and the key is
    issued again (retired, where the caller says so). Later it takes a reason: nothing is credited,
    and the key is retired.

    Raises:
        AssignmentCancelledError: it was cancelled before.
        ForbiddenError: the key is of a pool outside the actor's organizations.
        InvalidInputError: a late cancellation gives no reason.
    """
    actor.require(Role.MANAGER)
    found = assignments.find(session, actor=actor, assignment=assignment, lock=True)
    if found.status is AssignmentStatus.CANCELLED:
        raise errors.AssignmentCancelledError
    assignments.require_owner(session, actor, found)
    undone = _can_be_undone(session, found)
    if not undone and not (reason and reason.strip()):
        raise errors.InvalidInputError(
            "More than 24 hours after redemption, or after a launch, cancelling takes a reason.",
            field="reason",
        )
    key = session.get_one(Key, found.key_id, with_for_update=True)
    now = clock_now(session)
    found.cancelled_at, found.expired_at = now, None
    found.status, found.undone = AssignmentStatus.CANCELLED, undone
    found.cancel_reason = reason and reason.strip()
    session.flush()
    key.state = KeyState.ISSUED if undone and not retire_key else KeyState.RETIRED
    session.flush()
    if undone:
        _credit(session, actor, found, reason)
    assignments.remember(
        session, actor, "assignment cancelled", found, reason=reason, undone=undone
    )
    return assignments.show(session, actor=actor, assignment=str(found.id))


def preview(session: Session, *, actor: Actor, assignment: str) -> CancellationPreview | None:
    """Say what cancelling now would do (A5).

    None where the key is of another organization's pool: its owner decides.
    """
    found = assignments.find(session, actor=actor, assignment=assignment)
    if not assignments.owned(session, actor, found):
        return None
    return {
        "credited": _can_be_undone(session, found),
        **charges.left_of_redemption(session, assignment=found),
    }


def _can_be_undone(session: Session, assignment: Assignment) -> bool:
    launched = session.scalar(
        select(Launch.id)
        .where(Launch.assignment_id == assignment.id, Launch.outcome == "launched")
        .limit(1)
    )
    return launched is None and clock_now(session) < assignment.redeemed_at + FREE_CANCELLING


def _credit(session: Session, actor: Actor, assignment: Assignment, reason: str | None) -> None:
    charge = session.scalars(
        select(Charge).where(Charge.assignment_id == assignment.id, Charge.kind == "redemption")
    ).one()
    charges.give_back(session, charge=charge, reason=reason or "cancelled within 24 hours")
