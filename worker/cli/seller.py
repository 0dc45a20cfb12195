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
@click.option("--address", help="In lines, where there is no street and city.")
@click.option("--street", help="Street and number.")
@click.option("--postcode", help="The postal code.")
@click.option("--city", help="The town.")
@click.option("--country", metavar="CC", help="The country's code of ISO 3166: DE.")
@click.option("--tax-id", help="The seller's tax number.")
@click.option("--contact", help="Whom buyers ask.")
@click.option("--phone", help="That person's telephone number.")
@click.option("--email", help="That person's e-mail address.")
@click.option("--electronic-address", metavar="SCHEME:ID", help="Such as 0088:4012345000009.")
@click.option(
    "--bank",
    "banks",
    multiple=True,
    metavar="CUR=IBAN[,BIC]",
    help="Where invoices of a currency are paid; no IBAN removes it.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="KEY=ACCOUNT",
    help="The journals' account of receivables, revenue[:COURSE], tax[:PERCENT], unbilled, deferred or"
    " earned[:COURSE].",
)
@click.option("--payment-details", help="How else to pay: several lines.")
@click.option(
    "--zero-invoices", type=click.Choice(["keep", "skip"]), help="Whether invoices of 0 are made."
)
@click.option("--time-zone", metavar="ZONE", help="Whose days invoices are issued and due on.")
def edit(
    banks: tuple[str, ...], accounts: tuple[str, ...], **arguments: Any
) -> "seller.SellerShown":
    """Change the seller's details; finalized invoices do not change."""
    tables: dict[str, Any] = {
        "banks": list(map(_bank, banks)),
        "accounts": dict(map(_account, accounts)),
    }
    return run(seller.edit, actor=operator(), **tables, **arguments)


def _account(written: str) -> tuple[str, str]:
    """Read `revenue:K8S-101=8400`."""
    key, equals, account = written.partition("=")
    if not equals:
        raise click.BadParameter(f"“{written}” is not KEY=ACCOUNT.", param_hint="--account")
    return key, account


def _bank(written: str) -> dict[str, str]:
    """Read `EUR=DE89370400440532013000,COBADEFFXXX`."""
    currency, equals, account = written.partition("=")
    if not equals:
        raise click.BadParameter(f"“{written}” is not CUR=IBAN[,BIC].", param_hint="--bank")
    iban, _, bic = account.partition(",")
    return {"currency": currency, "iban": iban, "bic": bic}
