"""The seller: the operator as its invoices name it."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker import errors
from worker.database import zones
from worker.database.lookup import locked
from worker.tables.billing import Seller
from worker.tenancy import history
from worker.tenancy.actors import Actor


class SellerShape(TypedDict):
    """What invoices print of the operator, who sells."""

    name: str
    """Who sells."""
    address: str
    """The address, in lines."""
    tax_id: str
    """The tax number."""
    payment_details: str
    """Where to pay, in lines."""


class SellerShown(SellerShape):
    """The seller: what invoices print, and whose days they are issued on."""

    time_zone: str
    """Whose days are those of issues, payments and due dates, by its IANA name."""


FIELDS = ("name", "address", "tax_id", "payment_details", "time_zone")


def show(session: Session) -> SellerShown:
    """Give what drafts print of the seller, and its time zone."""
    seller = find(session)
    return {
        "name": seller.name,
        "address": seller.address,
        "tax_id": seller.tax_id,
        "payment_details": seller.payment_details,
        "time_zone": seller.time_zone,
    }


def edit(
    session: Session,
    *,
    actor: Actor,
    name: str | None = None,
    address: str | None = None,
    tax_id: str | None = None,
    payment_details: str | None = None,
    time_zone: str | None = None,
) -> SellerShown:
    """Change what is given of the seller; finalized invoices keep what they were printed with.

    Raises:
        InvalidInputError: the name is empty, or the time zone not known.
    """
    actor.require()
    changes = dict(zip(FIELDS, (name, address, tax_id, payment_details, time_zone), strict=True))
    given: dict[str, Any] = {
        field: value.strip() for field, value in changes.items() if value is not None
    }
    if given.get("name") == "":
        raise errors.InvalidInputError("Give the seller's name.", field="name")
    if time_zone is not None:
        given["time_zone"] = zones.check(session.connection(), time_zone)
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
