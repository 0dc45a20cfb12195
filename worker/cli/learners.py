"""`keypool learners`: people who redeem keys, and their data."""

from typing import TYPE_CHECKING

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import PagedCommand
from worker.cli.system import operator, run

with deferred():
    from worker.learning import duplicates as twins
    from worker.learning import learners

if TYPE_CHECKING:
    from worker.database.paging import Page
    from worker.learning.duplicates import Duplicate, Joined

DUPLICATES = printing.table(lambda: twins.Duplicate, without=("learner_id",))


@click.group("learners", cls=Group)
def command() -> None:
    """Learners: the people who redeem keys, known by e-mail address."""


@command.command(cls=PagedCommand)
@click.argument("email")
def show(email: str, limit: int, after: str | None) -> "learners.LearnerShape":
    """Show a learner's assignments."""
    return run(learners.show, actor=operator(), email=email, limit=limit, after=after)


@command.command()
@click.argument("email")
@click.option("--email", "new_email", metavar="NEW", help="The right address.")
@click.option("--name", metavar="NEW", help="The right name.")
def correct(email: str, new_email: str | None, name: str | None) -> "learners.LearnerShape":
    """Correct a learner's address or name."""
    return run(learners.correct, actor=operator(), email=email, new_email=new_email, name=name)


@command.command(cls=PagedCommand, shows=DUPLICATES)
def duplicates(limit: int, after: str | None) -> "Page[Duplicate]":
    """List duplicates: learners who are the same person, from before addresses were normalized."""
    return run(twins.listing, actor=operator(), limit=limit, after=after)


@command.command()
@click.argument("duplicate", metavar="ID")
@click.option(
    "--cancel-shorter",
    is_flag=True,
    help="Where both have access to a course, cancel what ends first.",
)
def join(duplicate: str, cancel_shorter: bool) -> "Joined":
    """Move everything of a duplicate to the learner that it duplicates."""
    return run(twins.join, actor=operator(), duplicate=duplicate, cancel_shorter=cancel_shorter)


@command.command()
@click.argument("email")
def export(email: str) -> "learners.LearnerExport":
    """Export everything stored about a person."""
    return run(learners.export, actor=operator(), email=email)


@command.command()
@click.argument("email")
def erase(email: str) -> "learners.Erasure":
    """End a person's access, and replace name and address by a pseudonym everywhere."""
    return run(learners.erase, actor=operator(), email=email)
