"""`keypool prices`: what a redemption costs, from when on, and for whom."""

from typing import TYPE_CHECKING, Any

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.catalogue import prices

if TYPE_CHECKING:
    from worker.database.paging import Page

COLUMNS = ("id", "course", "organization", "price", "currency", "from", "until", "in_force")


@click.group("prices", cls=Group)
def command() -> None:
    """Prices: an organization's own, from a day on, or everybody's."""


@command.command("set")
@click.argument("course")
@click.option("--organization", metavar="ORG", help="Whose price; everybody's where none is named.")
@click.option("--price", required=True, metavar="AMOUNT", help="What one redemption costs: 49.90.")
@click.option("--from", "from_", metavar="DATE", help="The first day of the price; now by default.")
@click.option("--currency", metavar="CUR", help="By default the organization's.")
def set_(**given: Any) -> "prices.PriceShape":
    """Set a course's price for an organization and those below it."""
    return run(prices.set_price, actor=operator(), **given)


@command.command()
@click.argument("price", metavar="PRICE-ID")
@click.option("--from", "from_", metavar="DATE", help="The first day without it; now by default.")
def withdraw(**given: Any) -> "prices.PriceShape":
    """End an organization's own price; the one of the organization above, or the list price, holds again."""
    return run(prices.withdraw, actor=operator(), **given)


@command.command(
    "list", cls=ListCommand, filters=lambda: prices.Filters, shows=printing.table(*COLUMNS)
)
def listing(**given: Any) -> "Page[prices.PriceShape]":
    """List prices, those of the past too."""
    return run(prices.listing, actor=operator(), **given)
