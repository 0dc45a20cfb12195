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
    """A price to hold from a day or instant on, from now where none is given."""

    course: str
    price: str
    organization: str | None = None
    currency: str | None = None
    from_: str | None = Field(None, alias="from")


class Withdrawal(Taken):
    """The day or instant from which on the price holds no more, from now where none is given."""

    from_: str | None = Field(None, alias="from")


@blueprint.get("")
@allowed(Role.FINANCE, Role.ANALYST)
@gives()
@blueprint.input(query(prices.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[prices.Filters]) -> Page[PriceShape]:
    """List the list prices and your organizations' own, history included."""
    return prices.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("")
@allowed()
@gives(201)
@blueprint.input(NewPrice, arg_name="body")
def set_price(session: Session, actor: Actor, body: NewPrice) -> PriceShape:
    """Set what a redemption of a course costs from a time on."""
    return prices.set_price(session, actor=actor, **body.given())


@blueprint.post("/<price>/withdraw")
@allowed()
@gives()
@blueprint.input(Withdrawal, arg_name="body")
def withdraw(session: Session, actor: Actor, price: str, body: Withdrawal) -> PriceShape:
    """End an organization's own price from a time on: an ancestor's or the list price holds again."""
    return prices.withdraw(session, actor=actor, price=price, **body.given())
