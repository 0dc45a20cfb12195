"""`keypool courses`: courses and their list prices."""

from typing import TYPE_CHECKING, Any, Unpack

import rich_click as click

from worker.cli import printing
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run

with deferred():
    from worker.catalogue import courses

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging

launch_url = click.option(
    "--launch-url", metavar="URL", help="Where learners open it; links to it are signed."
)


def _show(course: Any) -> None:
    printing.secret(course) if "launch_secret" in course else printing.record(course)


@click.group("courses", cls=Group)
def command() -> None:
    """Courses and their list prices."""


@command.command(shows=_show)
@click.argument("code")
@click.argument("title")
@click.option("--price", required=True, metavar="AMOUNT", help="What one redemption costs: 49.90.")
@click.option("--currency", required=True, metavar="CUR", help="An ISO 4217 code: EUR.")
@launch_url
def add(
    code: str, title: str, price: str, currency: str, launch_url: str | None
) -> "courses.CourseInClear":
    """Add a course with its list price."""
    return run(
        courses.add,
        actor=operator(),
        code=code,
        title=title,
        price=price,
        currency=currency,
        launch_url=launch_url or "",
    )


@command.command(shows=_show)
@click.argument("course")
@click.option("--title", help="Its new title.")
@launch_url
@click.option("--new-launch-secret", is_flag=True, help="Sign its links with a new secret.")
def edit(course: str, **changes: Any) -> "courses.CourseInClear":
    """Change a course's title or launch URL. Its list price is changed by “keypool prices set”."""
    return run(courses.edit, actor=operator(), course=course, **changes)


@command.command(
    "list",
    cls=ListCommand,
    filters=lambda: courses.Filters,
    shows=printing.table(lambda: courses.CourseShape, without=("id",)),
)
def listing(filters: "courses.Filters", **page: "Unpack[Paging]") -> "Page[courses.CourseShape]":
    """List courses by code, or search them."""
    return run(courses.listing, filters=filters, **page)


@command.command()
@click.argument("course", metavar="CODE")
def archive(course: str) -> "courses.CourseShape":
    """Archive a course: its pools' keys stop working, live assignments continue."""
    return run(courses.archive, actor=operator(), course=course)
