"""`keypool keys`: adding, listing, distributing and retiring keys."""

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, Unpack

import rich_click as click
from click import get_current_context

from worker.cli import printing, tables, waiting
from worker.cli.files import Written, deliver, written
from worker.cli.frame import WHOLE, Group, deferred, wants_json
from worker.cli.lists import ChoosingCommand, ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker import tasks
    from worker.database import connections, paging
    from worker.languages import negotiation, readers
    from worker.pools import batches, distributions, exporting, keys, replacing, retiring
    from worker.redemption import trouble
    from worker.tenancy import templates

if TYPE_CHECKING:
    from worker.database.paging import Page, Paging
    from worker.pools import reading
    from worker.pools.import_reports import ImportReport

KEYS = printing.table(
    lambda: keys.KeyShape,
    without=("pool", "assignment"),
)

DISTRIBUTIONS = printing.table(
    lambda: distributions.DistributionShape,
    without=("pool", "name"),
)

REFUSED_TABLE = printing.table(lambda: retiring.RetiredKey, without=("result",))

RETIRED_AT_ONCE = 10_000  # in one transaction

wait_or_not = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until all keys are made."
)
output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to write it."
)


@click.group("keys", cls=Group)
def command() -> None:
    """Keys: adding, listing, showing, retiring, exporting, distributing them."""


@command.command(shows=tables.show, failed=tables.none_added)
@click.argument("pool")
@click.argument("codes", metavar="CODE…", nargs=-1, required=True)
@tables.read_as
@wait_or_not
def add(
    pool: str, codes: tuple[str, ...], wait: bool, dry_run: bool, **said: Any
) -> "ImportReport":
    """Add keys by CODE; “-” reads them from standard input."""
    with system():
        read_as = tables.take(said)
        if codes == ("-",):
            return _imported(pool, _pasted(), read_as, wait=wait, dry_run=dry_run)
        report = connections.transaction(
            keys.add_keys,
            actor=operator(),
            pool=pool,
            codes=codes,
            read_as=read_as,
            dry_run=dry_run,
        )
        return _added(wait, report)


def _pasted() -> BinaryIO:
    """Give standard input as bytes; a replaced one (in tests) may only have text."""
    raw: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    return raw or io.BytesIO("".join(sys.stdin).encode())


@command.command("import", shows=tables.show, failed=tables.nothing_added)
@click.argument("pool")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["text", "csv", "workbook"]),
    help="The file's kind; by default recognized by its content.",
)
@tables.read_as
@wait_or_not
def import_(pool: str, file: BinaryIO, wait: bool, dry_run: bool, **said: Any) -> "ImportReport":
    """Add the keys of a file: text, CSV, or a workbook (xlsx, xls, ods).

    A column called code, key, voucher or the like holds the keys; recipients, references and states are
    read too. The result says how each column was read; --dry-run shows it and changes nothing.
    """
    with system():
        return _imported(pool, file, tables.take(said), wait=wait, dry_run=dry_run)


def _imported(
    pool: str, stream: BinaryIO, read_as: "reading.ReadAs", *, wait: bool, dry_run: bool
) -> "ImportReport":
    report = connections.transaction(
        keys.import_keys,
        actor=operator(),
        pool=pool,
        stream=stream,
        read_as=read_as,
        dry_run=dry_run,
    )
    return _added(wait, report)


def _added(wait: bool, report: "ImportReport") -> "ImportReport":
    """Wait for an import's batch, if there is one, and give the report."""
    if report["batch"] and wait:
        failed = waiting.failed(waiting.finish(report["batch"]))
        get_current_context().meta[tables.BATCH_FAILED] = failed
        report = connections.transaction(batches.report, actor=operator(), batch=report["batch"])
    elif report["batch"]:
        waiting.leave()
        printing.warn(waiting.left(report["batch"]))
        return report
    if report["invalid"] and not report["added"]:
        first = next(line for line in report["refused"] if line["result"] == "invalid")
        printing.warn(f"Line {first['line']}: {first['reason']}")
    return report


@command.command(shows=printing.sentences(waiting.lines), failed=waiting.failed)
@click.argument("pool")
@click.argument("count", type=WHOLE)
@tables.labelled
@wait_or_not
def generate(wait: bool, **arguments: Any) -> "batches.BatchShape":
    """Generate COUNT keys into a pool."""
    with system():
        batch = connections.transaction(batches.generate, actor=operator(), **arguments)
        if wait:
            return waiting.finish(batch["id"])
        waiting.leave()
        return batch


@command.command("list", cls=ListCommand, filters=lambda: keys.Filters, shows=KEYS)
@click.argument("pool")
def listing(pool: str, filters: "keys.Filters", **page: "Unpack[Paging]") -> "Page[keys.KeyShape]":
    """List a pool's keys."""
    return run(keys.listing, actor=operator(), pool=pool, filters=filters, **page)


def _shown(key: "trouble.KeyShown") -> None:
    printing.record({name: value for name, value in key.items() if name != "dry_run"})
    if dry_run := key.get("dry_run"):
        printing.line("", f"If {dry_run['learner']} ({dry_run['organization']}) redeemed it now:")
        printing.line(f"{dry_run['outcome']}: {dry_run['message']}")


@command.command(shows=_shown)
@click.argument("code")
@click.option("--as", "dry_run", metavar="EMAIL", help="What if this learner redeemed it now?")
@click.option("--organization", metavar="ORG", help="Theirs, where nothing is known of them.")
@click.option("--language", metavar="LANG", help="The language of messages, such as de.")
def show(
    language: str | None, code: str, dry_run: str | None, organization: str | None
) -> "trouble.KeyShown":
    """Show a key and its attempts: why does it not work?"""
    readers.begin(negotiation.choose(language))
    return run(
        trouble.show, actor=operator(), code=code, dry_run=dry_run, organization=organization
    )


def _none_retired(result: "retiring.RetiredKeys") -> int:
    """Say whether none of the codes was retired."""
    return 0 if result["retired"] else tables.EXIT_REFUSED


def _retired(result: "retiring.RetiredKeys") -> None:
    refused = [item for item in result["items"] if item["result"] == "refused"]
    printing.line(
        f"{printing.counted(result['retired'], 'key')} retired, {len(refused):,} refused."
    )
    if refused:
        REFUSED_TABLE(refused)


@command.command(shows=_retired, failed=_none_retired)
@click.argument("codes", metavar="CODE…", nargs=-1, required=True)
def retire(codes: tuple[str, ...]) -> "retiring.RetiredKeys":
    """Retire issued keys, each with its own result; “-” reads one code per line from standard input."""
    typed = [line.strip() for line in sys.stdin if line.strip()] if codes == ("-",) else codes
    result: retiring.RetiredKeys = {"retired": 0, "items": [], "next": None}
    for first in range(0, len(typed), RETIRED_AT_ONCE):
        some = typed[first : first + RETIRED_AT_ONCE]
        done = run(retiring.retire, actor=operator(), codes=some)
        result["retired"] += done["retired"]
        result["items"] += done["items"]
    if _none_retired(result) and result["items"]:
        printing.warn(f"CODE: {result['items'][0]['reason']}")
    return result


@command.command()
@click.argument("code")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays with both keys.")
@click.option(
    "--recipient", metavar="R", help="Who gets the new key, if the old one had no recipient."
)
def replace(code: str, reason: str, recipient: str | None) -> "replacing.Replacement":
    """Retire an issued key, and give its recipient another of the pool."""
    return run(replacing.replace, actor=operator(), code=code, reason=reason, recipient=recipient)


@command.command(cls=ChoosingCommand, filters=lambda: keys.Filters, shows=written)
@click.argument("pool")
@click.option(
    "--format",
    type=click.Choice(["csv", "excel", "xlsx"]),
    default="csv",
    show_default=True,
    help="excel: CSV as Excel takes it. xlsx: a workbook.",
)
@click.option("--labels", is_flag=True, help="With a last column of each key's labels.")
@output
def export(
    pool: str, format: str, output: Path | None, **arguments: Any
) -> "Written | paging.Page[dict[str, str]] | None":
    """Write a pool's keys to standard output or a file, from one snapshot.

    A workbook is written to a file named after the pool, unless -o names another.
    """
    with system(), connections.session(snapshot=True) as session:
        file = exporting.file(session, actor=operator(), pool=pool, format=format)
        listed = output is None and format == "csv" and wants_json()
        blocks = exporting.export(session, actor=operator(), pool=pool, format=format, **arguments)
        if listed:
            return paging.Page(list(csv.DictReader(_lines(blocks))), None)
        return deliver(blocks, name=file.name, output=output, printable=format != "xlsx")


def _lines(blocks: Iterator[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from io.StringIO(block.decode())


def _given(result: "distributions.OneDistributionMade | distributions.DistributionsMade") -> None:
    if "items" in result:
        printing.line(tables.read(result["read"]))
        printing.line(
            *(f"Line {row['line']} is left out. {row['reason']}" for row in result["left_out"])
        )
    if result["note"]:
        printing.line(result["note"])
    for item in _each(result):
        again = " again, as before" if item["repeated"] else ""
        printing.line(f"{printing.counted(item['given'], 'key')} for {item['recipient']}{again}:")
        printing.line(*(f"  {code}" for code in item["keys"]))
        printing.line(*(f"  {code} (retired)" for code in item["retired_keys"]))


def _each(
    result: "distributions.OneDistributionMade | distributions.DistributionsMade",
) -> "list[distributions.DistributionMade]":
    return [result] if "keys" in result else result["items"]


@command.command(shows=_given)
@click.argument("pool")
@click.argument("recipient", required=False)
@click.option("--file", type=click.File("rb"), help="A table with a column of addresses or names.")
@click.option("--count", type=WHOLE, help="How many keys; with --file, for rows without a count.")
@click.option("--reference", default="", metavar="R", help="An order number, say; likewise.")
@click.option("--name", default="", help="The recipient's name.")
@click.option("--mail", is_flag=True, help="Send each recipient their keys by e-mail, once.")
@click.option("--template", metavar="NAME", help="In the words of this template of the owner's.")
@click.option("--subject", help="In words for this once: the mail's subject.")
@click.option(
    "--text", type=click.File("r", encoding="utf-8-sig"), help="The mail's text, in a file."
)
@tables.read_as
@output
def distribute(
    pool: str,
    recipient: str | None,
    file: BinaryIO | None,
    output: Path | None,
    subject: str | None,
    text: TextIO | None,
    **arguments: Any,
) -> "distributions.OneDistributionMade | distributions.DistributionsMade":
    """Give keys to a recipient, or to every recipient in a file.

    The same recipient and reference again gives the same keys. A file has a heading, such as
    email,name,count,reference; a column of codes says which very key each is for, one of labels what
    they carry. With -o, the keys are
    also written as CSV for a mail merge: email,name,reference,code.
    """
    said = tables.take(arguments)
    _check_recipient(recipient, file, arguments["name"])
    arguments["template"] = templates.worded(
        arguments["template"], subject=subject, text=text.read() if text else None
    )
    result: distributions.OneDistributionMade | distributions.DistributionsMade
    with system():
        with connections.session() as session:
            if file is not None:
                arguments.pop("name")
                arguments |= {"stream": file, "read_as": said}
                result = distributions.distribute_file(
                    session, actor=operator(), pool=pool, **arguments
                )
            else:
                arguments |= {"recipient": recipient or "", "labels": said.labels}
                result = distributions.distribute(session, actor=operator(), pool=pool, **arguments)
            if output is not None and not arguments["dry_run"]:
                ids = [item["id"] for item in _each(result)]
                merge = distributions.mail_merge(
                    session, actor=operator(), pool=pool, distributions=ids
                )
                deliver(merge, name="keys.csv", output=output)
        if arguments["mail"] and not arguments["dry_run"]:
            tasks.nudge("mail")
    return result


def _check_recipient(recipient: str | None, file: BinaryIO | None, name: str) -> None:
    if (recipient is None) == (file is None):
        raise click.UsageError("Give either a recipient or --file.")
    if recipient is not None and Path(recipient).is_file():
        raise click.UsageError(f"{recipient} is a file; give it as --file {recipient}.")
    if file is not None and name:
        raise click.UsageError(
            "--name goes with a recipient; with --file, names come from the file."
        )


@command.command(
    "distributions",
    cls=ListCommand,
    filters=lambda: distributions.Filters,
    shows=DISTRIBUTIONS,
)
@click.argument("pool")
def distributed(
    pool: str, filters: "distributions.Filters", **page: "Unpack[Paging]"
) -> "Page[distributions.DistributionShape]":
    """List whom a pool's keys were handed to, newest first, and how many of them are redeemed."""
    return run(distributions.listing, actor=operator(), pool=pool, filters=filters, **page)


@command.command()
@click.argument("pool")
@click.argument("recipient")
@click.option("--reference", default="", metavar="R", help="The distribution's reference.")
def recall(pool: str, recipient: str, reference: str) -> "distributions.DistributionRecalled":
    """Retire a recipient's unredeemed keys."""
    return run(
        distributions.recall, actor=operator(), pool=pool, recipient=recipient, reference=reference
    )
