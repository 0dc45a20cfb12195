"""`keypool users`: users of the console."""

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.system import operator, run
from worker.cli.tokens import ROLES
from worker.tables.labels import Role

with deferred():
    from worker.tenancy import users

USERS = printing.table(lambda: users.UserShape)

PASSWORD = click.option(
    "--password",
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
    """Add a user of the console."""
    return run(
        users.add,
        actor=operator(),
        email=email,
        organization=organization,
        role=Role(role),
        password=password,
    )


@command.command()
@click.argument("email")
@PASSWORD
def password(email: str, password: str) -> "users.UserShape":
    """Give a user a new password; all their sessions end."""
    return run(users.set_password, actor=operator(), user=email, password=password)


@command.command()
@click.argument("email")
def disable(email: str) -> "users.UserShape":
    """Disable a user; their sessions end at once."""
    return run(users.disable, actor=operator(), user=email)


@command.command("list", shows=USERS)
def listing() -> "list[users.UserShape]":
    """List the console's users."""
    return run(users.listing, actor=operator())
