"""Files that people give to a command: options for reading them, and printing the result."""

from typing import TYPE_CHECKING, Any

import rich_click as click
from click import get_current_context

from worker.cli import printing
from worker.cli.frame import deferred
from worker.cli.options import together

with deferred():
    from worker.pools import import_reports, reading

if TYPE_CHECKING:
    from worker.pools.import_reports import ImportReport

EXIT_REFUSED = 2
LISTED = 20
REFUSED_LINES = printing.table(lambda: import_reports.RefusedLine)
SIGNS = {"\t": "tabs", " ": "spaces"}
BATCH_FAILED = (
    "keypool.batch failed"  # key in a command's context: the batch that it waited for failed
)

labelled = click.option(
    "--label", "labels", multiple=True, metavar="TEXT", help="A label for all the keys; repeatable."
)
read_as = together(
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="MEANING=HEADING",
        help="What a column means, by its heading or number: recipient=E-Mail, code=2.",
    ),
    click.option("--ignore", multiple=True, metavar="HEADING", help="A column to leave."),
    click.option("--any-shape", is_flag=True, help="Take keys that are unlike the others."),
    click.option(
        "--encoding",
        metavar="NAME",
        help="A text's encoding, such as windows-1252; by default recognized.",
    ),
    labelled,
    click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing."),
)


def take(arguments: dict[str, Any]) -> "reading.ReadAs":
    """Take the options of `read_as`, except the dry run, out of a command's arguments."""
    names = ("columns", "ignore", "any_shape", "encoding", "labels")
    options = {name: arguments.pop(name) for name in names}
    kind = arguments.pop("kind", None)
    return reading.ReadAs.of(**options, kind=reading.Kind(kind) if kind else None)


def nothing_added(report: "ImportReport") -> int:
    """Give an import's exit code: 2 if lines were refused and none was added."""
    context = get_current_context()
    if context.meta.get(BATCH_FAILED):
        return 1
    under_way = report["batch"] is not None and not context.params.get("wait", True)
    return EXIT_REFUSED if report["invalid"] and not report["added"] and not under_way else 0


def none_added(report: "ImportReport") -> int:
    """Give the exit code for keys given one by one: 2 if none was added."""
    under_way = report["batch"] is not None and not get_current_context().params["wait"]
    return nothing_added(report) or (0 if report["added"] or under_way else EXIT_REFUSED)


def show(report: "ImportReport") -> None:
    """Print an import's counts, how the input was read, and the first refused lines."""
    printing.line(
        f"{printing.counted(report['added'], 'key')} added, "
        f"{printing.counted(report['duplicate_in_input'], 'duplicate')} in the input, "
        f"{report['already_exists']:,} already there, {report['invalid']:,} invalid."
    )
    if report["read"] and (report["read"]["encoding"] or report["read"]["sheet"]):
        printing.line(read(report["read"]))
    elif report["read"]:
        for sentence in report["read"]["warnings"]:
            printing.line(sentence)
    if report["refused"]:
        REFUSED_LINES(report["refused"][:LISTED])
    if len(report["refused"]) > LISTED and report["batch"]:
        printing.line(f"All of them: “keypool batches report {report['batch']} -o refused.csv”.")
    if get_current_context().params.get("dry_run"):
        printing.line("This was a dry run: nothing was changed.")


def read(about: "reading.Read") -> str:
    """Say in a sentence how an input was read: encoding, delimiter, heading line, columns."""
    how = [about["encoding"] or f"the sheet “{about['sheet']}”"]
    if sign := about["delimiter"]:
        how.append(f"columns separated by {SIGNS.get(sign, f'“{sign}”')}")
    if about["heading_line"]:
        how.append(f"heading on line {about['heading_line']}")
    column = "“{}”" if about["heading_line"] else "column {}"
    columns = ", ".join(
        f"{meaning} is {column.format(name)}" for meaning, name in about["columns"].items()
    )
    sentences = [f"Read: {', '.join(how)}; {columns}."]
    if about["not_read"]:
        sentences.append(f"Not read: {', '.join(about['not_read'])}.")
    if about["other_sheets"]:
        sentences.append(f"Sheets that were not read: {', '.join(about['other_sheets'])}.")
    return " ".join([*sentences, *about["warnings"]])
