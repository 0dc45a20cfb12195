"""Who did what to which thing, and when: the one append-only table."""

from typing import Any

from sqlalchemy import func, insert, literal, select
from sqlalchemy.orm import Session

from worker.actors import Actor
from worker.models import History


def record(
    session: Session,
    *,
    actor: Actor,
    action: str,
    thing: str,
    thing_ids: int | list[int],
    organization_id: int | None = None,
    **detail: Any,
) -> None:
    """Write down one act on one thing or many, in the transaction of the act itself.

    `detail` is kept as JSON: what changed, from what, why. Keys' codes and secrets do not belong
    there.
    """
    ids = [thing_ids] if isinstance(thing_ids, int) else thing_ids
    columns = ["actor", "organization_id", "action", "thing", "detail", "thing_id"]
    session.execute(
        insert(History).from_select(
            columns,
            select(
                literal(actor.name),
                literal(organization_id),
                literal(action),
                literal(thing),
                literal(detail, History.detail.type),
                func.unnest(ids),
            ),
        )
    )


def of(session: Session, *, thing: str, thing_id: int) -> list[dict[str, Any]]:
    """List what was done to one thing, oldest first."""
    acts = select(History).where(History.thing == thing, History.thing_id == thing_id)
    return [shape(act) for act in session.scalars(acts.order_by(History.id))]


def shape(act: History) -> dict[str, Any]:
    """Give an act's public fields."""
    return {
        "at": act.at,
        "actor": act.actor,
        "action": act.action,
        "thing": act.thing,
        "thing_id": str(act.thing_id),
        "detail": act.detail,
    }
