"""Charges: what redemptions and paid extensions cost, and credits."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.instants import Instant
from webhook.http.shapes import Sorted, Taken, gives
from worker.billing import charges
from worker.billing.charges import ChargeShape
from worker.database.paging import Page
from worker.tables.labels import ChargeKind
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("charges", __name__, url_prefix="/api/v1/charges", tag="Charges")

READERS = (Role.FINANCE, Role.ANALYST)


class Query(Sorted):
    """Which charges."""

    organization: str | None = Field(None, max_length=200)
    pool: str | None = Field(None, max_length=200)
    assignment: str | None = Field(None, max_length=20)
    invoice: str | None = Field(None, max_length=40)
    line: str | None = Field(None, description="An invoice line's id.", max_length=20)
    unbilled: bool | None = None
    kind: ChargeKind | None = None
    since: Instant | None = Field(None, description="Owed at this time or later.")
    until: Instant | None = Field(None, description="Owed before this time.")


class Credit(Taken):
    """What of a charge is credited, all that is left unless an amount is given, and why."""

    reason: str
    amount: str | None = None


@blueprint.get("")
@allowed(*READERS)
@gives()
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Page[ChargeShape]:
    """List charges and credits, newest first."""
    return charges.listing(session, actor=actor, **query.page())


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
    """Credit a charge, wholly or partly, on the next invoice."""
    return charges.credit(session, actor=actor, charge=charge, **body.given())
