"""The seller: the operator's details on invoices."""

from typing import Literal

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import Changes, Clearable, Taken, gives, left_out
from worker.billing import seller
from worker.billing.seller import SellerShown
from worker.tables.billing import Seller
from worker.tenancy.actors import Actor

blueprint = APIBlueprint("seller", __name__, url_prefix="/api/v1/seller", tag="Seller")


def _found(session: Session, *, actor: Actor, lock: bool) -> Seller:
    del actor  # the role says enough
    return seller.find(session, lock=lock)


class Bank(Taken):
    """Where invoices of a currency are paid; without an IBAN, that currency's account is removed."""

    currency: str
    iban: Clearable
    bic: Clearable = ""


class SellerChanges(Changes):
    """Changes of the seller; finalized invoices do not change."""

    name: str = left_out()
    address: Clearable = None
    street: Clearable = None
    postcode: Clearable = None
    city: Clearable = None
    country: Clearable = None
    tax_id: Clearable = None
    contact: Clearable = None
    phone: Clearable = None
    email: Clearable = None
    electronic_address: Clearable = None
    payment_details: Clearable = None
    time_zone: str = left_out()
    zero_invoices: Literal["keep", "skip"] = left_out()
    banks: list[Bank] = left_out()
    accounts: dict[str, str] = left_out()


@blueprint.get("")
@allowed()
@versioned(_found)
@gives()
def show(session: Session, _actor: Actor) -> SellerShown:
    """Show the seller's details on invoices."""
    return seller.show(session)


@blueprint.patch("")
@allowed()
@versioned(_found)
@gives()
@blueprint.input(SellerChanges, arg_name="body")
def edit(session: Session, actor: Actor, body: SellerChanges) -> SellerShown:
    """Change the seller's details."""
    return seller.edit(session, actor=actor, **body.given())
