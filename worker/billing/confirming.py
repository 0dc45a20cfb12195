"""What a person confirms before a draft is finalized, since an invoice never changes afterwards."""

from datetime import date, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.billing import gathering, seller
from worker.tenancy.actors import Actor, Role

# Drafts of closed months that no run finalizes, because the seller lacks something.
HELD_UP = """
    SELECT invoice.id, month, day_start((month + interval '1 month')::date, time_zone) AS closed_at
      FROM invoice JOIN organization ON organization.id = organization_id
     WHERE status = 'draft' AND NOT by_hand AND cardinality(seller_lacks()) > 0
       AND day_start((month + interval '1 month')::date, time_zone) <= clock_now()
"""
COUNT_HELD_UP = f"SELECT count(*) FROM ({HELD_UP}) AS held_up"  # noqa: S608  # constants of ours
LEFT = text(f"""
    SELECT id FROM ({HELD_UP}) AS held_up
     WHERE closed_at <= clock_now() - CAST(:grace AS interval)
       AND (CAST(:month AS date) IS NULL OR month = :month)
     ORDER BY id
""")  # noqa: S608  # as above
RUNNING = text("""
    SELECT date_trunc('month', clock_now() AT TIME ZONE time_zone)::date <= :month
      FROM organization WHERE id = :organization_id
""")


class HeldUp(TypedDict):
    """What waits for the seller to be completed."""

    drafts: int
    """How many drafts of closed months."""
    lacks: list[str]
    """What the seller lacks."""


class NotConfirmedError(errors.RefusedError):
    """Something asks to be confirmed first."""


def held_up(session: Session, *, actor: Actor) -> HeldUp:
    """Say what waits for the seller to be completed, to the operator, who can do that."""
    drafts = 0
    if actor.role is Role.OPERATOR:
        drafts = session.execute(text(COUNT_HELD_UP)).scalar_one()
    return {"drafts": drafts, "lacks": seller.lacks(session)}


def left(session: Session, *, month: date | None, grace: timedelta) -> list[int]:
    """Give the drafts, past their grace, that a run leaves until the seller is completed."""
    return list(session.scalars(LEFT, {"month": month, "grace": grace}))


def doubts(session: Session, *, organization_id: int, month: date) -> list[str]:
    """Say why a draft of an organization and month should perhaps not be finalized yet."""
    found = []
    if lacking := seller.lacks(session):
        found.append(f"the seller has no {' and no '.join(lacking)}")
    month_and_buyer = {"organization_id": organization_id, "month": month}
    if session.execute(RUNNING, month_and_buyer).scalar_one():
        found.append(f"{gathering.in_words(month)} is not over yet")
    return found


def require(session: Session, *, organization_id: int, month: date) -> None:
    """Refuse to finalize a draft that there are doubts about.

    Raises:
        NotConfirmedError: it names what is missing, and says how to go on.
    """
    if found := doubts(session, organization_id=organization_id, month=month):
        sentence = ", and ".join(found)
        raise NotConfirmedError(
            f"{sentence[0].upper()}{sentence[1:]}: put that right first, or confirm it (“anyway”)."
        )
