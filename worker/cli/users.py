"""`keypool users`: users of the console."""

from typing import TYPE_CHECKING

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Asked, Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run
from worker.cli.tokens import ROLES
from worker.tables.labels import Role

with deferred():
    from worker.tenancy import passwords, users

if TYPE_CHECKING:
    from typing import Unpack

    from worker.database.paging import Page, Paging

USERS = printing.table(lambda: users.UserShape, without=("tokens",))


def link(made: "users.UserInvited") -> None:
    """Print who was invited, and what becomes of their link."""
    given = "It works once, within seven days. It is not shown again."
    printing.record(made, given if made["link"] else "The link is mailed.")


PASSWORD = click.option(
    "--password",
    cls=Asked,
    envvar="KEYPOOL_PASSWORD",
    prompt=True,
    hide_input=True,
    confirmation_prompt=True,
    help="At least 12 characters; asked for where it is not given.",
)


@click.group("users", cls=Group)
def command() -> None:
    """Users of the console, each with a role in one organization."""


@command.command()
@click.argument("email")
@click.option("--organization", metavar="ORG", help="Whose; the operator's belong to none.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What they may do.")
@PASSWORD
def add(email: str, organization: str | None, role: str, password: str) -> "users.UserShape":
    """Add a user of the console with a password; "invite" lets them choose it."""
    return run(
        users.add,
        actor=operator(),
        email=email,
        organization=organization,
        role=Role(role),
        new_hash=passwords.hashed(password, about=email),
    )


@command.command(shows=link)
@click.argument("email")
@click.option("--organization", metavar="ORG", help="Whose; the operator's belong to none.")
@click.option("--role", required=True, type=click.Choice(ROLES), help="What they may do.")
def invite(email: str, organization: str | None, role: str) -> "users.UserInvited":
    """Invite a user, who chooses a password by a one-time link: mailed, or printed here."""
    return run(
        users.invite, actor=operator(), email=email, organization=organization, role=Role(role)
    )


@command.command(shows=link)
@click.argument("email")
def reset(email: str) -> "users.UserInvited":
    """Let a user choose a new password by a one-time link: mailed, or printed here."""
    return run(users.reset, actor=operator(), user=email)


@command.command()
@click.argument("email")
def disable(email: str) -> "users.UserShape":
    """Disable a user; their sessions end at once. The tokens that they made go on: see "tokens"."""
    return run(users.disable, actor=operator(), user=email)


@command.command()
@click.argument("email")
def enable(email: str) -> "users.UserShape":
    """Let a disabled user sign in again."""
    return run(users.enable, actor=operator(), user=email)


@command.command("reset-second-factor")
@click.argument("email")
def reset_second_factor(email: str) -> "users.UserShape":
    """Remove a user's second factor, so that they set up another; they are told by mail."""
    return run(users.reset_second_factor, actor=operator(), user=email)


@command.command("list", cls=ListCommand, filters=lambda: users.Filters, shows=USERS)
def listing(filters: "users.Filters", **page: "Unpack[Paging]") -> "Page[users.UserShape]":
    """List the console's users by address, or search them."""
    return run(users.listing, actor=operator(), filters=filters, **page)
