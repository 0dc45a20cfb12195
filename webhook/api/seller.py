"""The seller: the operator as its invoices name it."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.preconditions import versioned
from webhook.http.shapes import Changes, Clearable, gives, left_out
from worker.billing import seller
from worker.billing.seller import SellerShown
from worker.tables.billing import Seller
from worker.tenancy.actors import Actor

blueprint = APIBlueprint("seller", __name__, url_prefix="/api/v1/seller", tag="Seller")


def _found(session: Session, *, actor: Actor, lock: bool) -> Seller:
    del actor  # the role says enough
    return seller.find(session, lock=lock)


class SellerChanges(Changes):
    """What may change of the seller; finalized invoices stay as they are."""

    name: str = left_out()
    address: Clearable = None
    tax_id: Clearable = None
    payment_details: Clearable = None
    time_zone: str = left_out()


@blueprint.get("")
@allowed()
@versioned(_found)
@gives()
def show(session: Session, _actor: Actor) -> SellerShown:
    """Show what invoices print of the seller."""
    return seller.show(session)


@blueprint.patch("")
@allowed()
@versioned(_found)
@gives()
@blueprint.input(SellerChanges, arg_name="body")
def edit(session: Session, actor: Actor, body: SellerChanges) -> SellerShown:
    """Change what is given of the seller."""
    return seller.edit(session, actor=actor, **body.given())
