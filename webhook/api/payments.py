"""Payments: taking one back that was recorded wrongly. They are recorded at their invoice."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http.access import allowed
from webhook.http.shapes import gives
from worker.billing import payments
from worker.billing.invoices import InvoiceShown
from worker.tenancy.actors import Actor

blueprint = APIBlueprint("payments", __name__, url_prefix="/api/v1/payments", tag="Invoices")


@blueprint.post("/<payment>/unpay")
@allowed()
@gives()
@blueprint.input(shapes.Reason, arg_name="body")
def unpay(session: Session, actor: Actor, payment: str, body: shapes.Reason) -> InvoiceShown:
    """Take back a payment; its amount is open again on the invoice."""
    return payments.take_back(session, actor=actor, payment=payment, reason=body.reason)
