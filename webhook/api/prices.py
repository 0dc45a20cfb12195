"""Prices: the operator sets them, finance reads them."""

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.http.access import allowed
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from worker.catalogue import prices
from worker.catalogue.prices import PriceShape
from worker.database.paging import Page
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("prices", __name__, url_prefix="/api/v1/prices", tag="Prices")


class NewPrice(Taken):
    """A price from a day or instant on, by default from now on."""

    course: str
    price: str
    organization: str | None = None
    currency: str | None = None
    from_: str | None = Field(None, alias="from")


class Withdrawal(Taken):
    """The day or instant at which the price ends, by default now."""

    from_: str | None = Field(None, alias="from")


@blueprint.get("")
@allowed(Role.FINANCE, Role.ANALYST)
@gives()
@blueprint.input(query(prices.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[prices.Filters]) -> Page[PriceShape]:
    """List the list prices and your organizations' prices, past ones included."""
    return prices.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed()
@gives(201)
@blueprint.input(NewPrice, arg_name="body")
def set_price(session: Session, actor: Actor, body: NewPrice) -> PriceShape:
    """Set the price of a course's redemptions from a time on."""
    return prices.set_price(session, actor=actor, **body.given())


@blueprint.post("/<price>/withdraw")
@allowed()
@gives()
@blueprint.input(Withdrawal, arg_name="body")
def withdraw(session: Session, actor: Actor, price: str, body: Withdrawal) -> PriceShape:
    """End an organization's price at a time: an ancestor's or the list price is in force again."""
    return prices.withdraw(session, actor=actor, price=price, **body.given())
