"""Invoices: billing runs, finalizing, paying, voiding."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, TypeVar

from apiflask import APIBlueprint
from flask import Response, g
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.api import shapes
from webhook.http import files
from webhook.http.access import allowed, known
from webhook.http.openapi import describe
from webhook.http.preconditions import versioned
from webhook.http.queries import Query, query
from webhook.http.shapes import Taken, gives
from webhook.http.strictjson import bodiless
from worker.billing import crediting, documents, invoices, payments, runs
from worker.billing.invoices import InvoiceShape, InvoiceShown, InvoiceVoided
from worker.billing.runs import BillingRun
from worker.database import connections, patience
from worker.database.connections import Login
from worker.database.paging import Page
from worker.reporting import keeping
from worker.tables.billing import Invoice
from worker.tenancy.actors import Actor, Role

blueprint = APIBlueprint("invoices", __name__, url_prefix="/api/v1/invoices", tag="Invoices")

T = TypeVar("T")

READERS = (Role.FINANCE, Role.ANALYST)


class Csv(Taken):
    """Which table."""

    detail: bool = False


class NewBillingRun(Taken):
    """The month to bill, such as 2026-05 (by default every closed one), and whether to finalize."""

    month: str | None = None
    finalize: bool = False
    anyway: bool = False


class Confirmation(Taken):
    """Whether to finalize it although the seller lacks something, or the month is not over."""

    anyway: bool = False


class JournalPeriod(Taken):
    """From the first day to the last, which is over."""

    from_: str = Field(alias="from")
    to: str


class Period(Taken):
    """The days of issue, both included, and which documents: by default PDFs and XMLs."""

    from_: str = Field(alias="from", max_length=10)
    to: str = Field(max_length=10)
    format: Literal["csv", "detail", "pdf", "json", "facturx", "xrechnung", "ubl"] | None = None


class NewCreditNote(Taken):
    """Which charges to credit at once, how much of each (by default all that is left), and why."""

    charges: list[str] = Field(min_length=1, max_length=1000)
    reason: str
    amount: str | None = None
    anyway: bool = False


class NewPayment(Taken):
    """Money received: the day, such as 2026-06-30, and the amount (by default what is open)."""

    on: str
    amount: str | None = None
    reference: str | None = Field(None, max_length=200)


@blueprint.get("")
@allowed(*READERS)
@gives()
@blueprint.input(query(invoices.Filters), location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query[invoices.Filters]) -> Page[InvoiceShape]:
    """List invoices, newest first."""
    return invoices.listing(session, actor=actor, filters=query.filters, **query.page)


@blueprint.post("/run")
@allowed()
@gives()
@blueprint.input(NewBillingRun, arg_name="body")
def run(session: Session, actor: Actor, body: NewBillingRun) -> BillingRun:
    """Bill what is unbilled, of all closed months or one; idempotent."""
    patience.waiting(session)  # a run has its own transactions, one per organization
    done = runs.run(
        actor=actor,
        transaction=partial(_transaction, actor),
        then=keeping.ask_after,
        **body.given(),
    )
    return done.shape()


@blueprint.get("/export")
@describe(only="application/zip")
@known(*READERS)
@blueprint.input(Period, location="query", arg_name="query")
def period(query: Period) -> Response:
    """Give every invoice that was issued on some days: PDFs and XMLs, or one format, and a list."""
    return files.period(actor=g.actor, **query.given())


@blueprint.post("/journal")
@describe(only="text/csv")
@known()
@blueprint.input(JournalPeriod, arg_name="body")
def journal(body: JournalPeriod) -> Response:
    """Give a period's lines for bookkeeping, under a number; the same days again are the same."""
    return files.journal(actor=g.actor, **body.given())


@blueprint.post("/credit")
@allowed()
@gives(201)
@blueprint.input(NewCreditNote, arg_name="body")
def credit(session: Session, actor: Actor, body: NewCreditNote) -> InvoiceShown:
    """Credit charges of one organization and currency on a credit note that is finalized at once."""
    return crediting.credit_now(
        session, actor=actor, then=keeping.ask_after, **body.given(charges="charges_")
    )


@blueprint.get("/<invoice>.pdf")
@describe(only="application/pdf")
@known(*READERS)
def pdf(invoice: str) -> Response:
    """Give an invoice as PDF."""
    return files.document(actor=g.actor, invoice=invoice, format="pdf")


@blueprint.get("/<invoice>.facturx")
@describe(only="application/pdf")
@known(*READERS)
def facturx(invoice: str) -> Response:
    """Give a finalized invoice as Factur-X: a PDF/A-3 with its XML of EN 16931."""
    return files.document(actor=g.actor, invoice=invoice, format="facturx")


@blueprint.get("/<invoice>.xrechnung")
@describe(only="application/xml")
@known(*READERS)
def xrechnung(invoice: str) -> Response:
    """Give a finalized invoice as XRechnung."""
    return files.document(actor=g.actor, invoice=invoice, format="xrechnung")


@blueprint.get("/<invoice>.ubl")
@describe(only="application/xml")
@known(*READERS)
def ubl(invoice: str) -> Response:
    """Give a finalized invoice as UBL of EN 16931, as Peppol carries it."""
    return files.document(actor=g.actor, invoice=invoice, format="ubl")


@blueprint.get("/<invoice>.csv")
@describe(only="text/csv")
@known(*READERS)
@blueprint.input(Csv, location="query", arg_name="query")
def csv(invoice: str, query: Csv) -> Response:
    """Give an invoice's lines as CSV or, with `detail`, its charges."""
    if not query.detail:
        return files.document(actor=g.actor, invoice=invoice, format="csv")
    invoice_id = str(_transaction(g.actor, invoices.find, actor=g.actor, invoice=invoice).id)
    return files.table(
        f"invoice-{invoice_id}-detail.csv", _detail, actor=g.actor, invoice=invoice_id
    )


@blueprint.get("/<invoice>")
@allowed(*READERS)
@versioned(invoices.find)
@gives()
def show(session: Session, actor: Actor, invoice: Invoice) -> InvoiceShown:
    """Show an invoice, by id or number, with its lines."""
    return invoices.show(session, actor=actor, invoice=invoice)


@blueprint.post("/<invoice>/finalize")
@allowed()
@versioned(invoices.find_to_bill)
@gives()
@bodiless
@blueprint.input(Confirmation, arg_name="body")
def finalize(session: Session, actor: Actor, invoice: Invoice, body: Confirmation) -> InvoiceShown:
    """Finalize a draft: it gets its number and due date. The body may be left out."""
    return invoices.finalize(
        session, actor=actor, invoice=invoice, anyway=body.anyway, then=keeping.ask_after
    )


@blueprint.post("/<invoice>/pay")
@allowed()
@versioned(invoices.find_to_bill)
@gives()
@blueprint.input(NewPayment, arg_name="body")
def pay(session: Session, actor: Actor, invoice: Invoice, body: NewPayment) -> InvoiceShown:
    """Record a payment of an invoice, in full or in part."""
    return payments.pay(session, actor=actor, invoice=invoice, **body.given())


@blueprint.post("/<invoice>/void")
@allowed()
@versioned(invoices.find_to_bill)
@gives()
@blueprint.input(shapes.Reason, arg_name="body")
def void(session: Session, actor: Actor, invoice: Invoice, body: shapes.Reason) -> InvoiceVoided:
    """Void a finalized invoice: it keeps its number, its charges go to a new draft."""
    return invoices.void(session, actor=actor, invoice=invoice, reason=body.reason)


def _transaction(actor: Actor, function: Callable[..., T], /, **arguments: Any) -> T:
    with connections.session(Login.WEB, sees=actor.scope) as session:
        patience.unhurried(session)
        return function(session, **arguments)


def _detail(session: Session, *, actor: Actor, invoice: str) -> Iterator[bytes]:
    return documents.export(session, actor=actor, invoice=invoice, format="detail").content
