"""`keypool keys`: adding, listing, handing out and withdrawing keys."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import rich_click as click

from worker.cli import printing, waiting
from worker.cli.files import Written, deliver, written
from worker.cli.frame import WHOLE, Group, deferred, wants_json
from worker.cli.lists import ChoosingCommand, ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker.database import connections, paging
    from worker.pools import batches, distributions, exporting, keys, reading, replacing
    from worker.redemption import trouble

if TYPE_CHECKING:
    from worker.database.paging import Page

COLUMNS = (
    "code",
    "state",
    "recipient",
    "reference",
    "distributed_at",
    "redeemed_by",
    "redeemed_at",
)

REFUSED = 2
RETIRED_AT_ONCE = 10_000  # in one transaction

wait_or_not = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until all keys are made."
)
output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it."
)


@click.group("keys", cls=Group)
def command() -> None:
    """Keys: added, listed, shown, retired, exported, handed out."""


def _nothing_added(report: "batches.ImportReport") -> int:
    """Say whether not one line of an input could be a key: then it is refused."""
    sound = report["added"] + report["duplicate_in_input"] + report["already_exists"]
    return REFUSED if report["invalid"] and not sound and not report["batch"] else 0


def _tell(report: "batches.ImportReport") -> "batches.ImportReport":
    if _nothing_added(report):
        first = report["refused"][0]
        printing.warn(f"Line {first['line']}: {first['reason']}")
    return report


@command.command(shows=waiting.report, failed=_nothing_added)
@click.argument("pool")
@click.argument("codes", metavar="CODE…", nargs=-1, required=True)
@wait_or_not
def add(pool: str, codes: tuple[str, ...], wait: bool) -> "batches.ImportReport":
    """Add keys that you have, a CODE each; “-” reads pasted lines from standard input."""
    given: Iterable[str] = sys.stdin if codes == ("-",) else codes
    with system():
        return _added(
            wait, connections.transaction(keys.add_keys, actor=operator(), pool=pool, codes=given)
        )


@command.command("import", shows=waiting.report, failed=_nothing_added)
@click.argument("pool")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format", "kind", type=click.Choice(["text", "csv"]), help="By default told by its look."
)
@click.option(
    "--column", metavar="NAME", help="The column that holds the keys, by its header or number."
)
@wait_or_not
def import_(
    pool: str, file: BinaryIO, kind: str | None, column: str | None, wait: bool
) -> "batches.ImportReport":
    """Add the keys of a file: one a line, or CSV with a column of codes."""
    form = reading.Kind(kind) if kind else None
    with system():
        report = connections.transaction(
            keys.import_keys, actor=operator(), pool=pool, stream=file, kind=form, column=column
        )
        return _added(wait, report)


def _added(wait: bool, report: "batches.ImportReport") -> "batches.ImportReport":
    """Wait for the batch of an import, where there is one, and give its report then."""
    if report["batch"] and wait:
        waiting.finish(report["batch"])
        return connections.transaction(batches.report, actor=operator(), batch=report["batch"])
    if report["batch"]:
        waiting.leave()
        printing.warn(waiting.left(report["batch"]))
    return _tell(report)


@command.command(shows=printing.sentences(waiting.lines), failed=waiting.failed)
@click.argument("pool")
@click.argument("count", type=WHOLE)
@wait_or_not
def generate(pool: str, count: int, wait: bool) -> "batches.BatchShape":
    """Generate COUNT keys into a pool."""
    with system():
        batch = connections.transaction(batches.generate, actor=operator(), pool=pool, count=count)
        if wait:
            return waiting.finish(batch["id"])
        waiting.leave()
        return batch


@command.command(
    "list", cls=ListCommand, filters=lambda: keys.Filters, shows=printing.table(*COLUMNS)
)
@click.argument("pool")
def listing(**given: Any) -> "Page[keys.KeyShape]":
    """List a pool's keys."""
    return run(keys.listing, actor=operator(), **given)


def _shown(key: "trouble.KeyShown") -> None:
    printing.record({name: value for name, value in key.items() if name != "dry_run"})
    if dry_run := key.get("dry_run"):
        printing.line("", f"If {dry_run['learner']} ({dry_run['organization']}) redeemed it now:")
        printing.line(f"{dry_run['outcome']}: {dry_run['message']}")


@command.command(shows=_shown)
@click.argument("code")
@click.option("--as", "dry_run", metavar="EMAIL", help="What if this learner redeemed it now?")
@click.option("--organization", metavar="ORG", help="Theirs, where nothing is known of them.")
def show(**given: Any) -> "trouble.KeyShown":
    """Show a key and its attempts: why does it not work?"""
    return run(trouble.show, actor=operator(), **given)


def _none_retired(told: "keys.RetiredKeys") -> int:
    """Say whether not one of the codes was retired: then all is refused."""
    return 0 if told["retired"] else REFUSED


def _retired(told: "keys.RetiredKeys") -> None:
    refused = [item for item in told["items"] if item["result"] == "refused"]
    printing.line(f"{printing.counted(told['retired'], 'key')} retired, {len(refused):,} refused.")
    if refused:
        printing.table("key", "code", "reason")(refused)


@command.command(shows=_retired, failed=_none_retired)
@click.argument("codes", metavar="CODE…", nargs=-1, required=True)
def retire(codes: tuple[str, ...]) -> "keys.RetiredKeys":
    """Retire issued keys, each for itself; “-” reads codes from standard input, one a line."""
    given = [line.strip() for line in sys.stdin if line.strip()] if codes == ("-",) else codes
    told: keys.RetiredKeys = {"retired": 0, "items": [], "next": None}
    for first in range(0, len(given), RETIRED_AT_ONCE):
        some = given[first : first + RETIRED_AT_ONCE]
        done = run(keys.retire, actor=operator(), codes=some)
        told["retired"] += done["retired"]
        told["items"] += done["items"]
    if _none_retired(told) and told["items"]:
        printing.warn(told["items"][0]["reason"] or "")
    return told


@command.command()
@click.argument("code")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays with both keys.")
@click.option("--recipient", metavar="R", help="Who is to have the new one, if nobody had the old.")
def replace(**given: Any) -> "replacing.Replacement":
    """Retire an issued key, and give its recipient another of the pool."""
    return run(replacing.replace, actor=operator(), **given)


@command.command(cls=ChoosingCommand, filters=lambda: keys.Filters, shows=written)
@click.argument("pool")
@click.option(
    "--format",
    type=click.Choice(["csv", "excel", "xlsx"]),
    default="csv",
    show_default=True,
    help="excel: CSV as Excel takes it. xlsx: a workbook.",
)
@output
def export(
    pool: str, format: str, output: Path | None, **given: Any
) -> "Written | paging.Page[dict[str, str]] | None":
    """Write a pool's keys to standard output or a file, as they are at one moment.

    A workbook is written to a file named after the pool, unless -o names another.
    """
    with system(), connections.session(snapshot=True) as session:
        file = exporting.file(session, actor=operator(), pool=pool, format=format)
        listed = output is None and format == "csv" and wants_json()
        blocks = exporting.export(session, actor=operator(), pool=pool, format=format, **given)
        if listed:
            return paging.Page(list(csv.DictReader(_lines(blocks))), None)
        return deliver(blocks, name=file.name, output=output, printable=format != "xlsx")


def _lines(blocks: Iterator[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from io.StringIO(block.decode())


def _given(result: "distributions.DistributionMade | distributions.DistributionsMade") -> None:
    for item in _each(result):
        again = " again, as before" if item["repeated"] else ""
        printing.line(f"{printing.counted(item['given'], 'key')} for {item['recipient']}{again}:")
        printing.line(*(f"  {code}" for code in item["keys"]))


def _each(
    result: "distributions.DistributionMade | distributions.DistributionsMade",
) -> "list[distributions.DistributionMade]":
    return [result] if "keys" in result else result["items"]


@command.command(shows=_given)
@click.argument("pool")
@click.argument("recipient", required=False)
@click.option("--file", type=click.File("rb"), help="CSV: email,name,count,reference.")
@click.option("--count", type=WHOLE, default=1, show_default=True, help="How many keys.")
@click.option("--reference", default="", metavar="R", help="An order number, say.")
@click.option("--name", default="", help="The recipient's name.")
@output
def distribute(
    pool: str, recipient: str | None, file: BinaryIO | None, output: Path | None, **given: Any
) -> "distributions.DistributionMade | distributions.DistributionsMade":
    """Hand keys to a recipient, or to everybody in a file.

    The same recipient and reference again gives the same keys. With -o, the keys are also written
    as CSV for a mail merge: email,name,reference,code.
    """
    if (recipient is None) == (file is None):
        raise click.UsageError("Give either a recipient or --file.")
    result: distributions.DistributionMade | distributions.DistributionsMade
    with system(), connections.session() as session:
        if file is not None:
            result = distributions.distribute_file(
                session, actor=operator(), pool=pool, stream=file
            )
        else:
            result = distributions.distribute(
                session, actor=operator(), pool=pool, recipient=recipient or "", **given
            )
        if output is not None:
            ids = [item["id"] for item in _each(result)]
            merge = distributions.mail_merge(
                session, actor=operator(), pool=pool, distributions=ids
            )
            deliver(merge, name="keys.csv", output=output)
    return result


@command.command()
@click.argument("pool")
@click.argument("recipient")
@click.option("--reference", default="", metavar="R", help="What it was handed out under.")
def recall(**given: Any) -> "distributions.DistributionRecalled":
    """Retire what is unredeemed of what a recipient was handed."""
    return run(distributions.recall, actor=operator(), **given)
