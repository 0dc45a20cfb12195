"""The seller: the operator as its invoices name it."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker import errors
from worker.database.lookup import locked
from worker.tables.billing import Seller
from worker.tenancy import history
from worker.tenancy.actors import Actor

FIELDS = ("name", "address", "tax_id", "payment_details")


def show(session: Session) -> dict[str, str]:
    """Give what drafts print of the seller: `{name, address, tax_id, payment_details}`."""
    seller = find(session)
    return {field: getattr(seller, field) for field in FIELDS}


def edit(
    session: Session,
    *,
    actor: Actor,
    name: str | None = None,
    address: str | None = None,
    tax_id: str | None = None,
    payment_details: str | None = None,
) -> dict[str, str]:
    """Change what is given of the seller; finalized invoices keep what they were printed with.

    Raises:
        InvalidInputError: the name is empty.
    """
    actor.require()
    changes = dict(zip(FIELDS, (name, address, tax_id, payment_details), strict=True))
    given: dict[str, Any] = {
        field: value.strip() for field, value in changes.items() if value is not None
    }
    if given.get("name") == "":
        raise errors.InvalidInputError("Give the seller's name.", field="name")
    seller = find(session, lock=True)
    for field, value in given.items():
        setattr(seller, field, value)
    session.flush()
    history.record(
        session, actor=actor, action="seller edited", thing="seller", thing_ids=1, **given
    )
    return show(session)


def find(session: Session, *, lock: bool = False) -> Seller:
    """Give the one seller, locked against other changes on demand."""
    wanted = select(Seller)
    return session.scalars(locked(wanted, of=Seller) if lock else wanted).one()
