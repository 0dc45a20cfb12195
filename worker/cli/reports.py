"""`keypool reports`: running notebooks, and stored reports."""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import rich_click as click

from worker.cli import printing, progress
from worker.cli.files import Written, deliver, written
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run, system
from worker.errors import ExtraMissingError, InvalidInputError

with deferred():
    from worker import reporting
    from worker import settings as of_keypool
    from worker.billing import deferrals

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from worker.database.paging import Page, Paging

REPORTS = printing.table(
    lambda: reporting.keeping.ReportShape,
    "id",
    "notebook",
    "organization",
    "from",
    "to",
    "format",
    "state",
    "data_at",
    "invoice",
    "asked_by",
)
MONTHS = printing.table(lambda: deferrals.DeferredMonth)
COLUMNS = printing.table(lambda: reporting.dictionary.ColumnShape)
LOGINS = printing.table(lambda: reporting.lasting.LoginShape)
SCHEDULES = printing.table(
    lambda: reporting.schedules.ScheduleShape,
    "id",
    "notebook",
    "organization",
    "every",
    "format",
    "mail",
    "next_on",
    "paused_at",
    "last_report",
)
UNFINISHED = ("queued", "running")
POLL_SECONDS = 0.5  # seconds between polls, while a worker makes it
FORMATS = click.Choice(["html", "pdf"])


@click.group("reports", cls=Group)
def command() -> None:
    """Reports: notebooks, run and rendered as one file each, or stored by the system."""


@command.command("list", shows=printing.table(lambda: reporting.rendering.NotebookShape))
def listing() -> "list[reporting.rendering.NotebookShape]":
    """List the notebooks that come with keypool."""
    return reporting.listing()


def _ran(result: "Written | reporting.keeping.ReportShape") -> None:
    written(result) if "file" in result else printing.record(result)


@command.command()
@click.option("--organization", metavar="ORG", help="Whose; all of them by default.")
@click.option("--from", "from_", metavar="DAY", help="The first day; a year ago by default.")
@click.option("--to", metavar="DAY", help="The last day; today by default.")
def measures(
    organization: str | None, from_: str | None, to: str | None
) -> "reporting.measures.Measures":
    """Show the measures of reports: keys as they stand now, attempts and amounts of a period."""
    return run(
        reporting.measures.show, actor=operator(), organization=organization, from_=from_, to=to
    )


def _deferred(result: "deferrals.Deferred | Written | None") -> None:
    if result is None:
        return
    if "file" in result:
        written(cast("Written", result))
        return
    MONTHS(result["months"])


@command.command("deferred", shows=_deferred)
@click.option("--organization", metavar="ORG", help="Whose charges; all of them by default.")
@click.option("--from", "from_", metavar="DAY", help="The first day; a year ago by default.")
@click.option("--to", metavar="DAY", help="The last day; today by default.")
@click.option(
    "--journal", is_flag=True, help="The period's postings as CSV; its days must be over."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE")
def deferred_(
    organization: str | None, from_: str | None, to: str | None, journal: bool, output: Path | None
) -> "deferrals.Deferred | Written | None":
    """Show what was charged, earned and is left to earn, by month, until all of it is earned."""
    if not journal:
        if output:
            raise click.UsageError("-o is for the --journal.")
        return run(
            deferrals.schedule, actor=operator(), organization=organization, from_=from_, to=to
        )
    if from_ is None or to is None:
        raise click.UsageError("A journal is of a period: give --from and --to.")
    name = f"deferred-{from_}-{to}.csv"

    def write(session: "Session") -> Written | None:
        lines = deferrals.journal(
            session, actor=operator(), organization=organization, from_=from_, to=to
        )
        return deliver(lines, name=name, output=output, printable=True)

    return run(write)


@command.command(shows=COLUMNS)
@click.option("--markdown", is_flag=True, help="As the page of the documentation.")
def dictionary(markdown: bool) -> "list[reporting.dictionary.ColumnShape]":
    """Print what each view of schema “report” has: its columns, their types and meanings."""
    if markdown:
        printing.line(*run(reporting.dictionary.markdown).splitlines())
        sys.exit(0)
    return run(reporting.dictionary.listing)


@command.command(shows=printing.closing("Keep the password now: it is not shown again."))
@click.argument("organization")
def login(organization: str) -> "reporting.lasting.LoginInClear":
    """Make a lasting database login that reads an organization's reports; its password is printed once."""
    with system():
        return reporting.lasting.add(actor=operator(), organization=organization)


@command.command(shows=LOGINS)
def logins() -> "list[reporting.lasting.LoginShape]":
    """List the lasting database logins of organizations; never their passwords."""
    return run(reporting.lasting.listing, actor=operator())


@command.command()
@click.argument("login")
def end(login: str) -> "reporting.lasting.LoginShape":
    """End a lasting database login, and its sessions, at once."""
    return run(reporting.lasting.end, actor=operator(), login=login)


@command.command("run", shows=_ran, failed=lambda result: result.get("state") == "failed")
@click.argument("notebook")
@click.option("--organization", metavar="ORG", help="Whose figures; all of them by default.")
@click.option("--from", "from_", metavar="DAY", help="The first day; a year ago by default.")
@click.option("--to", metavar="DAY", help="The last day; today by default.")
@click.option("--format", type=FORMATS, help="HTML unless the file ends in .pdf; needs Chromium.")
@click.option(
    "-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="The notebook's own."
)
@click.option("--keep", is_flag=True, help="Keep it in the system; see “keypool reports kept”.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE")
def run_(
    notebook: str,
    output: Path | None,
    format: str | None,
    keep: bool,
    pairs: tuple[str, ...],
    **arguments: Any,
) -> "Written | reporting.keeping.ReportShape":
    """Run a notebook, by name or file, and write the result."""
    if keep and output:
        raise click.UsageError("--keep writes no file; export the report afterwards.")
    arguments["parameters"] = reporting.parameters.split(dict(enumerate(pairs, 1)))
    with system(), progress.bar(100, f"Running {Path(notebook).stem}") as done:

        def advance(worked: int, cells: int) -> None:
            done(100 * worked // cells)

        if keep:
            return _kept(notebook, format=format or "html", advance=advance, **arguments)
        kind = format or ("pdf" if output and output.suffix == ".pdf" else "html")
        path = reporting.run(
            notebook, actor=operator(), output=output, format=kind, advance=advance, **arguments
        )
        done(100)
    return {"file": str(path), "bytes": path.stat().st_size}


@command.command(cls=ListCommand, filters=lambda: reporting.keeping.Filters, shows=REPORTS)
def kept(
    filters: "reporting.keeping.Filters", **page: "Unpack[Paging]"
) -> "Page[reporting.keeping.ReportShape]":
    """List stored reports, newest first."""
    return run(reporting.keeping.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("report", metavar="ID")
def show(report: str) -> "reporting.keeping.ReportShape":
    """Show a stored report, its progress, and why it failed."""
    return run(reporting.keeping.show, actor=operator(), report=report)


@command.command(shows=written)
@click.argument("report", metavar="ID")
@click.option(
    "--format", type=click.Choice(["html", "pdf", "xlsx"]), default="html", show_default=True
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE")
def export(report: str, format: str, output: Path | None) -> Written | None:
    """Write a stored report, or its tables as xlsx, to a file; a PDF that is not stored is printed here."""

    def write(session: "Session") -> Written | None:
        content = GIVES[format](session, report)
        name = f"report-{report}.{format}"
        return deliver([content], name=name, output=output, printable=format == "html")

    return run(write)


@command.command()
@click.argument("notebook")
@click.option(
    "--every", type=click.Choice(["day", "week", "month"]), required=True, help="How often."
)
@click.option("--organization", metavar="ORG", help="Whose figures; all of them by default.")
@click.option(
    "--format", type=click.Choice(["html", "pdf", "xlsx"]), default="html", show_default=True
)
@click.option(
    "--mail", multiple=True, metavar="EMAIL", help="Who gets each; give it for each address."
)
@click.option(
    "-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="The notebook's own."
)
def schedule(pairs: tuple[str, ...], **arguments: Any) -> "reporting.schedules.ScheduleShape":
    """Have a report made of each day, week or month when it is over, kept, and sent by mail."""
    arguments["parameters"] = reporting.parameters.split(dict(enumerate(pairs, 1)))
    return run(reporting.schedules.schedule, actor=operator(), **arguments)


@command.command()
@click.argument("schedule", metavar="ID")
@click.option("--every", type=click.Choice(["day", "week", "month"]), help="How often.")
@click.option("--format", type=click.Choice(["html", "pdf", "xlsx"]))
@click.option(
    "--mail", multiple=True, metavar="EMAIL", help="Who gets each from now on; nobody else does."
)
@click.option("--no-mail", is_flag=True, help="It is kept, and goes to nobody.")
@click.option(
    "-p", "--parameter", "pairs", multiple=True, metavar="NAME=VALUE", help="The notebook's own."
)
def reschedule(
    schedule: str, mail: tuple[str, ...], no_mail: bool, pairs: tuple[str, ...], **changes: Any
) -> "reporting.schedules.ScheduleShape":
    """Change a schedule: how often, as what, with which parameters, to whom."""
    if mail and no_mail:
        raise InvalidInputError("Give addresses, or --no-mail, not both.", field="mail")
    changes["mail"] = mail if mail or no_mail else None
    own = reporting.parameters.split(dict(enumerate(pairs, 1)))
    changes["parameters"] = own or None
    return run(reporting.schedules.edit, actor=operator(), schedule=schedule, **changes)


@command.command(shows=SCHEDULES)
@click.option("--organization", metavar="ORG", help="One organization's.")
def schedules(organization: str | None) -> "list[reporting.schedules.ScheduleShape]":
    """List the reports that are made again and again."""
    return run(reporting.schedules.listing, actor=operator(), organization=organization)


@command.command()
@click.argument("schedule", metavar="ID")
def pause(schedule: str) -> "reporting.schedules.ScheduleShape":
    """Have a scheduled report made no more for now."""
    return run(reporting.schedules.pause, actor=operator(), schedule=schedule)


@command.command()
@click.argument("schedule", metavar="ID")
def resume(schedule: str) -> "reporting.schedules.ScheduleShape":
    """Have a paused report made again, about what ends from now on."""
    return run(reporting.schedules.resume, actor=operator(), schedule=schedule)


@command.command()
@click.argument("schedule", metavar="ID")
def unschedule(schedule: str) -> "reporting.schedules.ScheduleShape":
    """End a schedule; the reports that it had made stay."""
    return run(reporting.schedules.remove, actor=operator(), schedule=schedule)


@command.command()
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- OPTION…]")
def lab(options: tuple[str, ...]) -> None:
    """Open your notebooks (KEYPOOL_NOTEBOOKS), else keypool's, in JupyterLab; Ctrl-C ends it.

    Its kernels have the analyst's login, and it saves notebooks without their outputs.
    """
    if find_spec("jupyterlab") is None:
        raise ExtraMissingError("notebooks")
    with system():
        folder = of_keypool.settings().notebooks or reporting.NOTEBOOKS
        command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={folder}"]
        as_root = ["--allow-root"] * (os.geteuid() == 0)
        environment = reporting.analysts_environment()
        ended = subprocess.run([*command, *as_root, *options], env=environment, check=False)
    sys.exit(ended.returncode)


def _page(session: "Session", report: str) -> bytes:
    return reporting.keeping.page(session, actor=operator(), report=report).encode()


def _pdf(session: "Session", report: str) -> bytes:
    if reporting.keeping.show(session, actor=operator(), report=report)["pdf_bytes"]:
        return reporting.keeping.pdf(session, actor=operator(), report=report)
    return reporting.pdf(_page(session, report).decode())


def _workbook(session: "Session", report: str) -> bytes:
    return reporting.keeping.workbook(session, actor=operator(), report=report)


GIVES = {"html": _page, "pdf": _pdf, "xlsx": _workbook}


def _kept(notebook: str, *, advance: Any, **arguments: Any) -> "reporting.keeping.ReportShape":
    """Request a report, and make it here, unless a worker takes it first."""
    shown = run(reporting.keeping.ask, actor=operator(), notebook=notebook, **arguments)
    while shown["state"] in UNFINISHED:
        if reporting.make_next(only=int(shown["id"]), advance=advance) is None:
            time.sleep(POLL_SECONDS)
        shown = run(reporting.keeping.show, actor=operator(), report=shown["id"])
        advance(shown["worked"], shown["cells"] or 1)
    return shown
