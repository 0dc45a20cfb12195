"""Charges: what redemptions and paid extensions cost, and credits."""

from apiflask import APIBlueprint
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from worker.billing import charges
from worker.billing.charges import ChargeShape
from worker.database.paging import Page
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("charges", __name__, url_prefix="/api/v1/charges", tag="Charges")

READERS = (Role.FINANCE, Role.ANALYST)


class Credit(Taken):
    """How much of a charge to credit (by default all that is left), and why."""

    reason: str
    amount: str | None = None


@blueprint.get("")
@allowed(*READERS)
@gives()
@blueprint.input(query(charges.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[charges.Filters]) -> Page[ChargeShape]:
    """List charges and credits, newest first."""
    return charges.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.get("/<charge>")
@allowed(*READERS)
@gives()
def show(session: Session, actor: Actor, charge: str) -> ChargeShape:
    """Show a charge."""
    return charges.show(session, actor=actor, charge=charge)


@blueprint.post("/<charge>/credit")
@allowed()
@gives(201)
@blueprint.input(Credit, arg_name="body")
def credit(session: Session, actor: Actor, charge: str, body: Credit) -> ChargeShape:
    """Credit a charge, wholly or partly, on the month's credit note."""
    return charges.credit(session, actor=actor, charge=charge, **body.given())
