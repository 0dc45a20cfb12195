"""`keypool seller`: the operator's details on invoices."""

from typing import Any

import rich_click as click

from worker.cli.frame import Group, deferred
from worker.cli.system import operator, run

with deferred():
    from worker.billing import seller


@click.group("seller", cls=Group)
def command() -> None:
    """Seller: who issues the invoices, and where they are paid."""


@command.command()
def show() -> "seller.SellerShown":
    """Show the seller's details on invoices."""
    return run(seller.show)


@command.command()
@click.option("--name", help="Who sells.")
@click.option("--address", help="Several lines, as on an envelope.")
@click.option("--tax-id", help="The seller's tax number.")
@click.option("--payment-details", help="Where to pay: several lines.")
@click.option("--time-zone", metavar="ZONE", help="Whose days invoices are issued and due on.")
def edit(**given: Any) -> "seller.SellerShown":
    """Change the seller's details; finalized invoices do not change."""
    return run(seller.edit, actor=operator(), **given)
