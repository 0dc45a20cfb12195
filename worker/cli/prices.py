"""`keypool prices`: the price of a redemption, per course and organization, from a day on."""

from typing import TYPE_CHECKING, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.catalogue import prices

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

PRICES = printing.table(
    lambda: prices.PriceShape,
    "id",
    "course",
    "organization",
    "price",
    "currency",
    "from",
    "until",
    "in_force",
)


@click.group("prices", cls=Group)
def command() -> None:
    """Prices: list prices, and organizations' own, each from a day on."""


@command.command("set")
@click.argument("course")
@click.option("--organization", metavar="ORG", help="Whose price; everybody's where none is named.")
@click.option("--price", required=True, metavar="AMOUNT", help="What one redemption costs: 49.90.")
@click.option("--from", "from_", metavar="DATE", help="The first day of the price; now by default.")
@click.option("--currency", metavar="CUR", help="By default the organization's.")
def set_(
    course: str, organization: str | None, price: str, from_: str | None, currency: str | None
) -> "prices.PriceShape":
    """Set a course's price for an organization and its descendants."""
    return run(
        prices.set_price,
        actor=operator(),
        course=course,
        organization=organization,
        price=price,
        from_=from_,
        currency=currency,
    )


@command.command()
@click.argument("price", metavar="PRICE-ID")
@click.option("--from", "from_", metavar="DATE", help="The first day without it; now by default.")
def withdraw(price: str, from_: str | None) -> "prices.PriceShape":
    """End an organization's price; its nearest ancestor's or the list price is in force again."""
    return run(prices.withdraw, actor=operator(), price=price, from_=from_)


@command.command("list", cls=ListCommand, filters=lambda: prices.Filters, shows=PRICES)
def listing(filters: "prices.Filters", **page: "Unpack[Paging]") -> "Page[prices.PriceShape]":
    """List prices, past ones too."""
    return run(prices.listing, actor=operator(), filters=filters, **page)
