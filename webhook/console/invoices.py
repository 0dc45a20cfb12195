"""Invoices: lists, lines and their charges, finalizing, paying, voiding, documents."""

from typing import Any

from flask import Response, render_template, request
from sqlalchemy.orm import Session

from webhook.console import forms
from webhook.console.access import known, page
from webhook.console.answers import done
from webhook.console.choosing import chosen, place
from webhook.console.frame import blueprint
from webhook.console.words import of_owner
from webhook.http import files
from worker.billing import charges, confirming, crediting, handing_over, invoices, payments
from worker.reporting import keeping
from worker.tenancy.actors import Actor, Role

READERS = (Role.FINANCE, Role.ANALYST)


@blueprint.get("/invoices", endpoint="invoices")
@page(*READERS)
def invoices_page(session: Session, actor: Actor) -> Any:
    """List invoices, newest first."""
    listed = invoices.listing(session, actor=actor, filters=chosen(invoices.Filters), **place())
    held_up = confirming.held_up(session, actor=actor)
    return render_template(
        "invoices.html", listed=listed, filtered=invoices.Filters, held_up=held_up
    )


@blueprint.get("/invoices.zip", endpoint="period_file")
@known(*READERS)
def period_file(actor: Actor) -> Any:
    """Give every invoice that was issued on some days, in one zip."""
    asked = {"from_": request.args.get("from", ""), "to": request.args.get("to", "")}
    return files.period(actor=actor, **asked)


@blueprint.post("/invoices/journal")
@page(on="invoices")
def journal(session: Session, actor: Actor) -> Any:
    """Give a period's lines for bookkeeping, under a number."""
    asked = {"from_": request.form.get("from", ""), "to": request.form.get("to", "")}
    made = handing_over.export(session, actor=actor, format=handing_over.JOURNAL, **asked)
    headers = files.attachment(made.name)
    return Response(b"".join(made.content), mimetype=made.media_type, headers=headers)


@blueprint.get("/invoices/<invoice>")
@page(*READERS)
def invoice(session: Session, actor: Actor, invoice: str) -> Any:
    """Show an invoice with its lines."""
    shown = invoices.show(session, actor=actor, invoice=invoice)
    of_owner(shown["organization"])
    doubts = invoices.doubts(session, actor=actor, invoice=shown["id"])
    return render_template("invoice.html", it=shown, doubts=doubts)


@blueprint.get("/invoices/<invoice>/lines/<line>")
@page(*READERS)
def invoice_line(session: Session, actor: Actor, invoice: str, line: str) -> Any:
    """Show the charges behind a line, each with its redemption."""
    carried = charges.Filters(invoice=invoice, line=forms.whole(line, field="line"))
    listed = charges.listing(session, actor=actor, filters=carried, **place())
    return render_template("invoice_line.html", invoice=invoice, line=line, listed=listed)


@blueprint.get("/charges", endpoint="charges")
@page(*READERS)
def charges_page(session: Session, actor: Actor) -> Any:
    """List charges and credits, newest first, and where each is billed."""
    listed = charges.listing(session, actor=actor, filters=chosen(charges.Filters), **place())
    return render_template("charges.html", listed=listed, filtered=charges.Filters)


@blueprint.get("/invoices/<invoice>.<any(pdf, csv, facturx, xrechnung, ubl):kind>")
@known(*READERS)
def invoice_file(actor: Actor, invoice: str, kind: str) -> Any:
    """Give an invoice as a document."""
    return files.document(actor=actor, invoice=invoice, format=kind)


@blueprint.post("/invoices/<invoice>/finalize")
@page(on="invoice")
def finalize_invoice(session: Session, actor: Actor, invoice: str) -> Any:
    """Finalize a draft: it gets its number and due date."""
    made = invoices.finalize(
        session,
        actor=actor,
        invoice=invoice,
        anyway="anyway" in request.form,
        then=keeping.ask_after,
    )
    return done(f"The invoice is final: {made['number']}.", "invoice", invoice=made["id"])


@blueprint.post("/invoices/<invoice>/pay")
@page(on="invoice")
def pay_invoice(session: Session, actor: Actor, invoice: str) -> Any:
    """Record a payment of an invoice."""
    form = request.form
    made = payments.pay(
        session,
        actor=actor,
        invoice=invoice,
        on=form.get("on", ""),
        amount=form.get("amount") or None,
        reference=form.get("reference", ""),
    )
    still = f"{made['open']} {made['currency']} is still open."
    sentence = (
        "The invoice is paid." if made["status"] == "paid" else f"The payment is kept; {still}"
    )
    return done(sentence, "invoice", invoice=invoice)


@blueprint.post("/invoices/<invoice>/payments/<payment>/unpay")
@page(on="invoice")
def unpay_invoice(session: Session, actor: Actor, invoice: str, payment: str) -> Any:
    """Take back a payment that was recorded wrongly."""
    payments.take_back(session, actor=actor, payment=payment, reason=request.form.get("reason", ""))
    return done("The payment is taken back; it is open again.", "invoice", invoice=invoice)


@blueprint.post("/invoices/<invoice>/void")
@page(on="invoice")
def void_invoice(session: Session, actor: Actor, invoice: str) -> Any:
    """Void a finalized invoice; its charges go to a new draft."""
    invoices.void(session, actor=actor, invoice=invoice, reason=request.form.get("reason", ""))
    return done("The invoice is void; its charges are on a new draft.", "invoice", invoice=invoice)


@blueprint.post("/invoices/<invoice>/lines/<line>/charges/<charge>/credit")
@page(on="invoice_line", confirmed=True)
def credit_charge(session: Session, actor: Actor, invoice: str, line: str, charge: str) -> Any:
    """Credit a charge behind a line, wholly or partly: on the month's credit note, or at once."""
    reason, amount = request.form.get("reason", ""), request.form.get("amount") or None
    if "now" in request.form:
        note = crediting.credit_now(
            session,
            actor=actor,
            charges_=[charge],
            reason=reason,
            amount=amount,
            anyway="anyway" in request.form,
            then=keeping.ask_after,
        )
        sentence = f"Credit note {note['number']} is final."
        return done(sentence, "invoice_line", invoice=invoice, line=line)
    made = charges.credit(session, actor=actor, charge=charge, reason=reason, amount=amount)
    sentence = f"{made['amount']} {made['currency']} is credited on the next credit note."
    return done(sentence, "invoice_line", invoice=invoice, line=line)
