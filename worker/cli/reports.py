"""`keypool reports`: notebooks, run and rendered."""

from pathlib import Path
from typing import Any

import rich_click as click

from worker.cli import printing
from worker.cli.files import written
from worker.cli.frame import Group, deferred
from worker.cli.system import operator, system

with deferred():
    from worker import reporting


@click.group("reports", cls=Group)
def command() -> None:
    """Reports: notebooks, run and rendered as one HTML file each."""


@command.command("list", shows=printing.table("name", "title", "question"))
def listing() -> list[dict[str, str]]:
    """List the notebooks that come with keypool."""
    return reporting.listing()


@command.command("run", shows=written)
@click.argument("notebook")
@click.option("--organization", metavar="ORG", help="Whose figures; all of them by default.")
@click.option("--from", "from_", metavar="DAY", help="The first day; a year ago by default.")
@click.option("--to", metavar="DAY", help="The last day; today by default.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.html")
def run_(notebook: str, **given: Any) -> dict[str, Any]:
    """Run a notebook, by its name or file, and write what it shows."""
    with system():
        path = reporting.run(notebook, actor=operator(), **given)
    return {"file": str(path), "bytes": path.stat().st_size}
