"""Invoices: run, finalized, paid or voided."""

from typing import Any

from apiflask import APIBlueprint
from pydantic import Field
from sqlalchemy.orm import Session

from webhook.access import allowed
from webhook.api import shapes
from worker import invoices
from worker.actors import Actor, Role
from worker.models import InvoiceStatus

blueprint = APIBlueprint("invoices", __name__, url_prefix="/api/v1/invoices", tag="Invoices")

READERS = (Role.FINANCE, Role.ANALYST)


class Query(shapes.Paging):
    """Which invoices."""

    organization: str | None = Field(None, max_length=200)
    month: str | None = Field(None, description="Such as 2026-05.", max_length=10)
    status: InvoiceStatus | None = None


@blueprint.get("")
@allowed(*READERS)
@blueprint.output(shapes.Invoices)
@blueprint.input(Query, location="query", arg_name="query")
def listing(session: Session, actor: Actor, query: Query) -> Any:
    """List invoices, newest first."""
    return vars(invoices.listing(session, actor=actor, **query.page()))


@blueprint.get("/<invoice>")
@allowed(*READERS)
@blueprint.output(shapes.Invoice)
def show(session: Session, actor: Actor, invoice: str) -> Any:
    """Show an invoice, by id or number, with its lines."""
    return invoices.show(session, actor=actor, invoice=invoice)


@blueprint.post("/<invoice>/finalize")
@allowed()
@blueprint.output(shapes.Invoice)
def finalize(session: Session, actor: Actor, invoice: str) -> Any:
    """Finalize a draft: number it and set its due date."""
    return invoices.finalize(session, actor=actor, invoice=invoice)


@blueprint.post("/<invoice>/pay")
@allowed()
@blueprint.output(shapes.Invoice)
@blueprint.input(shapes.Payment, arg_name="body")
def pay(session: Session, actor: Actor, invoice: str, body: shapes.Payment) -> Any:
    """Say that an invoice was paid on a day."""
    return invoices.pay(session, actor=actor, invoice=invoice, on=body.on)


@blueprint.post("/<invoice>/void")
@allowed()
@blueprint.output(shapes.Invoice)
@blueprint.input(shapes.Reason, arg_name="body")
def void(session: Session, actor: Actor, invoice: str, body: shapes.Reason) -> Any:
    """Void a finalized invoice: its number stays, its charges go to a new draft."""
    return invoices.void(session, actor=actor, invoice=invoice, reason=body.reason)
