"""`keypool invoices`: billing runs, invoices and payments."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import rich_click as click

from worker.cli import printing
from worker.cli.files import Written, deliver, written
from worker.cli.frame import Group, deferred
from worker.cli.lists import ListCommand
from worker.cli.system import operator, run, system

with deferred():
    from worker import reporting
    from worker.billing import (
        charges,
        crediting,
        documents,
        handing_over,
        invoices,
        payments,
        runs,
        statements,
    )
    from worker.database import connections

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from worker.database.paging import Page, Paging

INVOICES = printing.table(
    lambda: invoices.InvoiceShape,
    "id",
    "number",
    "organization",
    "month",
    "status",
    "subtotal",
    "tax",
    "total",
    "currency",
    "due_on",
    "open",
)
AGEING = printing.table(lambda: statements.Ageing)
OPEN_ITEMS = printing.table(lambda: statements.OpenItem)
CHARGES = printing.table(
    lambda: charges.ChargeShape,
    "id",
    "occurred_at",
    "kind",
    "organization",
    "learner_organization",
    "course",
    "assignment",
    "amount",
    "currency",
    "invoice",
    "credits",
)


ANYWAY = "Also where the seller has no name, address or tax id, or the month is not over."


@click.group("invoices", cls=Group)
def command() -> None:
    """Invoices: the charges of one organization, month and currency."""


def _ran(result: "runs.BillingRunShown") -> None:
    printing.line(
        f"{printing.counted(result['charges'], 'charge')} of "
        f"{printing.counted(result['organizations'], 'organization')} billed; "
        f"{printing.counted(len(result['finalized']), 'invoice')} finalized."
    )
    INVOICES(result["invoices"])
    if result["left"]:
        printing.warn(
            f"{printing.counted(len(result['left']), 'draft')} of closed months left: the seller has no "
            f"{' and no '.join(result['lacks'])}. Complete it (keypool seller edit), or use --anyway."
        )
    for organization in result["failed"]:
        printing.warn(f"Organization {organization} could not be billed; see the log.")


@command.command("run", shows=_ran, failed=lambda result: bool(result["failed"]))
@click.option("--month", metavar="YYYY-MM", help="One month; by default every closed one.")
@click.option("--finalize", is_flag=True, help="Number the invoices of closed months.")
@click.option("--anyway", is_flag=True, help=ANYWAY)
def run_(month: str | None, finalize: bool, anyway: bool) -> "runs.BillingRunShown":
    """Bill what is unbilled; idempotent."""
    with system():
        done = runs.run(
            actor=operator(),
            month=month,
            finalize=finalize,
            anyway=anyway,
            then=reporting.keeping.ask_after,
        )
        changed = connections.transaction(
            invoices.listing, actor=operator(), ids=done.invoices, limit=1000
        )
    return {**done.shape(), "invoices": changed.items}


@command.command("list", cls=ListCommand, filters=lambda: invoices.Filters, shows=INVOICES)
def listing(filters: "invoices.Filters", **page: "Unpack[Paging]") -> "Page[invoices.InvoiceShape]":
    """List invoices, newest first."""
    return run(invoices.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("invoice", metavar="ID")
def show(invoice: str) -> "invoices.InvoiceShown":
    """Show an invoice, by its id or number, with its lines."""
    return run(invoices.show, actor=operator(), invoice=invoice)


@command.command()
@click.argument("invoice", metavar="ID")
@click.option("--anyway", is_flag=True, help=ANYWAY)
def finalize(invoice: str, anyway: bool) -> "invoices.InvoiceShown":
    """Finalize a draft: it gets its number and due date."""
    return run(
        invoices.finalize,
        actor=operator(),
        invoice=invoice,
        anyway=anyway,
        then=reporting.keeping.ask_after,
    )


@command.command()
@click.argument("invoice", metavar="ID")
@click.option("--on", required=True, metavar="DAY", help="The day it was paid: 2026-05-31.")
@click.option("--amount", metavar="AMOUNT", help="By default all that is open.")
@click.option("--reference", default="", metavar="R", help="Such as the bank's; tells parts apart.")
def pay(invoice: str, on: str, amount: str | None, reference: str) -> "invoices.InvoiceShown":
    """Record a payment of an invoice, in full or in part."""
    return run(
        payments.pay, actor=operator(), invoice=invoice, on=on, amount=amount, reference=reference
    )


@command.command()
@click.argument("payment")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays in the history.")
def unpay(payment: str, reason: str) -> "invoices.InvoiceShown":
    """Take back a PAYMENT that was recorded wrongly; `show` lists the ids."""
    return run(payments.take_back, actor=operator(), payment=payment, reason=reason)


@command.command()
@click.argument("invoice", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays with the invoice.")
def void(invoice: str, reason: str) -> "invoices.InvoiceVoided":
    """Void a finalized invoice; its charges go to a new draft of the same month."""
    return run(invoices.void, actor=operator(), invoice=invoice, reason=reason)


@command.command("charges", cls=ListCommand, filters=lambda: charges.Filters, shows=CHARGES)
@click.argument("invoice", required=False)
def charged(filters: "charges.Filters", **page: "Unpack[Paging]") -> "Page[charges.ChargeShape]":
    """List charges, newest first: those of an invoice or a line, and the invoice of each."""
    return run(charges.listing, actor=operator(), filters=filters, **page)


@command.command()
@click.argument("charge", nargs=-1, required=True)
@click.option("--amount", metavar="AMOUNT", help="Of each; by default all that is left of it.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays with the credit.")
@click.option("--now", is_flag=True, help="On a credit note of its own, finalized at once.")
@click.option("--anyway", is_flag=True, help="With --now, though the seller lacks something.")
def credit(
    charge: tuple[str, ...], amount: str | None, reason: str, now: bool, anyway: bool
) -> "charges.ChargeShape | list[charges.ChargeShape] | invoices.InvoiceShown":
    """Credit charges, wholly or partly, on the month's credit note; with --now show a credit note."""
    if now:
        return run(
            crediting.credit_now,
            actor=operator(),
            charges_=charge,
            amount=amount,
            reason=reason,
            anyway=anyway,
            then=reporting.keeping.ask_after,
        )
    credits = run(crediting.credit, actor=operator(), charges_=charge, amount=amount, reason=reason)
    return credits[0] if len(charge) == 1 else credits


def _stated(result: "dict[str, Any] | None") -> None:
    if result is None:
        return
    if "file" in result:
        written(cast("Written", result))
        return
    AGEING(result["ageing"])
    OPEN_ITEMS(result["items"])


@command.command(shows=_stated)
@click.argument("organization", metavar="ORG")
@click.option("--on", metavar="DAY", help="As of this day; by default today.")
@click.option(
    "--format",
    type=click.Choice(["json", "csv", "pdf"]),
    help="csv has the documents. By default a table here, and pdf with -o.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE")
def statement(
    organization: str, on: str | None, format: str | None, output: Path | None
) -> "statements.Statement | Written | None":
    """Show what an organization has open, and for how long it is overdue."""
    if format is None and output is None:
        return run(statements.of, actor=operator(), organization=organization, on=on)
    made = run(
        documents.statement,
        actor=operator(),
        organization=organization,
        on=on,
        format=format or "pdf",
    )
    printable = made.media_type != "application/pdf"
    return deliver(made.content, name=made.name, output=output, printable=printable)


@command.command(shows=written)
@click.argument("invoice", metavar="[ID]", required=False)
@click.option("--from", "from_", metavar="D", help="A period's: those issued on this day or later,")
@click.option("--to", metavar="D", help="and on this day or before.")
@click.option(
    "--format",
    type=click.Choice(["csv", "detail", "pdf", "json", "facturx", "xrechnung", "ubl", "journal"]),
    help="csv has the lines, detail every charge; facturx, xrechnung and ubl are e-invoices; journal is"
    " for bookkeeping, of a period. By default pdf, and of a period a zip of PDFs and XMLs.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE")
def export(
    invoice: str | None, from_: str | None, to: str | None, format: str | None, output: Path | None
) -> Written | None:
    """Write an invoice's document, or a period's, to a file; or print it if it is text."""

    def write(session: "Session") -> Written | None:
        made = _made(session, invoice, from_, to, format)
        printable = made.media_type not in ("application/pdf", "application/zip")
        return deliver(made.content, name=made.name, output=output, printable=printable)

    return run(write)


def _made(
    session: "Session", invoice: str | None, from_: str | None, to: str | None, format: str | None
) -> "documents.Document":
    if invoice is not None and from_ is None and to is None:
        return documents.export(session, actor=operator(), invoice=invoice, format=format or "pdf")
    if invoice is not None or from_ is None or to is None:
        raise click.UsageError("Name an invoice, or a period by --from and --to.")
    return handing_over.export(session, actor=operator(), from_=from_, to=to, format=format)
