"""`keypool tokens`: API credentials."""

from typing import TYPE_CHECKING

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run
from worker.tables.labels import Role

with deferred():
    from worker.tenancy import tokens

if TYPE_CHECKING:
    from typing import Unpack

    from worker.database.paging import Page, Paging

ROLES = [role.value for role in Role]
TOKENS = printing.table(lambda: tokens.TokenShape, without=("works_until",))


@click.group("tokens", cls=Group)
def command() -> None:
    """Tokens: credentials for the API, each with a role in one organization."""


@command.command(shows=printing.closing("Keep the token now: it is not shown again."))
@click.argument("name")
@click.option("--organization", metavar="ORG", help="Whose; the operator's belong to none.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What it may do.")
@click.option("--until", "expires", metavar="DATE", help="The last day on which it works.")
def add(
    role: str, name: str, organization: str | None, expires: str | None
) -> "tokens.TokenInClear":
    """Make a token and print it, once."""
    return run(
        tokens.add,
        actor=operator(),
        role=Role(role),
        name=name,
        organization=organization,
        expires=expires,
    )


@command.command()
@click.argument("token")
def revoke(token: str) -> "tokens.TokenShape":
    """Revoke a token, by id or name, at once."""
    return run(tokens.revoke, actor=operator(), token=token)


@command.command("list", cls=ListCommand, filters=lambda: tokens.Filters, shows=TOKENS)
def listing(filters: "tokens.Filters", **page: "Unpack[Paging]") -> "Page[tokens.TokenShape]":
    """List tokens; never the tokens themselves."""
    return run(tokens.listing, actor=operator(), filters=filters, **page)
