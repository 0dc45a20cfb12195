"""`keypool templates`: organizations' own words for mails."""

from typing import TYPE_CHECKING, TextIO

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.outgoing import messages
    from worker.tenancy import templates

if TYPE_CHECKING:
    from typing import Unpack

    from worker.database.paging import Page, Paging

TEMPLATES = printing.table(lambda: templates.TemplateShape, "name", "organization", "subject")
TEXT = click.option(
    "--file",
    "text",
    type=click.File("r", encoding="utf-8-sig"),  # with or without a byte order mark
    required=True,
    help="The text, in a file; - is standard input.",
)
SUBJECT = click.option("--subject", required=True, help="The mail's subject, without a key.")


@click.group("templates", cls=Group)
def command() -> None:
    """Templates: organizations' own words for the mails that bring keys."""


@command.command(shows=printing.letter)
@click.argument("name")
@click.option("--organization", required=True, metavar="ORG", help="Whose words they are.")
@SUBJECT
@TEXT
def save(name: str, organization: str, subject: str, text: TextIO) -> "templates.TemplateShape":
    """Save a template; it replaces the one of that name.

    The text may say {{ name }}, {{ organization }}, {{ course }}, {{ reference }}, {{ until }},
    {{ before }}, {{ days }}, {{ total }} and {{ file }}, and goes through the keys:
    {% for key in keys %}. What is indented by four spaces stands out.
    """
    return run(
        templates.save,
        actor=operator(),
        organization=organization,
        name=name,
        subject=subject,
        text=text.read(),
    )


@command.command(shows=printing.letter)
@click.option("--organization", metavar="ORG", help="In whose name, colour and logo.")
@SUBJECT
@TEXT
def preview(subject: str, text: TextIO, organization: str | None) -> "messages.TemplatePreview":
    """Show what a template says, with values made up."""
    return run(
        messages.preview,
        actor=operator(),
        subject=subject,
        text=text.read(),
        organization=organization,
    )


@command.command(
    "list",
    cls=ListCommand,
    filters=lambda: templates.Filters,
    shows=TEMPLATES,
)
def listing(
    filters: "templates.Filters", **page: "Unpack[Paging]"
) -> "Page[templates.TemplateShape]":
    """List the templates of all organizations."""
    return run(templates.listing, actor=operator(), filters=filters, **page)
