"""Crediting: several charges at once, on the month's credit note or on one of its own (B8)."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker import errors
from worker.billing import charges, gathering, invoices, numbering, seller
from worker.billing.charges import ChargeShape
from worker.billing.confirming import NotConfirmedError
from worker.billing.invoices import InvoiceShown
from worker.tables.billing import Charge, Invoice, InvoiceCharge
from worker.tables.labels import InvoiceStatus
from worker.tenancy.actors import Actor


def credit(
    session: Session,
    *,
    actor: Actor,
    charges_: Sequence[str],
    reason: str,
    amount: str | None = None,
) -> list[ChargeShape]:
    """Credit charges on the next credit note; gives the credits. An amount is credited of each.

    Raises:
        CreditExceedsChargeError: less than that is left of one, or it is itself a credit.
        InvalidInputError: the amount is invalid, or the reason is empty or too long.
    """
    return [
        charges.credit(session, actor=actor, charge=charge, reason=reason, amount=amount)
        for charge in dict.fromkeys(charges_)
    ]


def credit_now(
    session: Session,
    *,
    actor: Actor,
    charges_: Sequence[str],
    reason: str,
    amount: str | None = None,
    anyway: bool = False,
    then: gathering.Then = gathering.nothing,
) -> InvoiceShown:
    """Credit charges of one organization and currency on a credit note that is finalized at once.

    `anyway` confirms that the seller lacks something. `then` gets the credit note's id, in the same
    transaction.

    Raises:
        InvoiceStatusError: a charge is on no finalized invoice.
        InvalidInputError: the charges are of several organizations or currencies; or as `credit`.
        CreditExceedsChargeError: as `credit`.
        NotConfirmedError: the seller lacks something.
    """
    actor.require()
    if not anyway and (lacking := seller.lacks(session)):
        raise NotConfirmedError(
            f"The seller has no {' and no '.join(lacking)}: put that right first, or confirm it (“anyway”)."
        )
    found = [charges.find(session, actor=actor, charge=charge) for charge in charges_]
    if len({(charge.organization_id, charge.currency) for charge in found}) != 1:
        raise errors.InvalidInputError(
            "Credit charges of one organization and currency at once.", field="charges"
        )
    buyer = gathering.lock(session, found[0].organization_id)
    _require_invoiced(session, found)
    given = credit(session, actor=actor, charges_=charges_, reason=reason, amount=amount)
    drafts = gathering.credit_at_once(session, buyer, [int(one["id"]) for one in given])
    (note,) = numbering.number(session, drafts)
    invoices.remember(session, actor, "invoice finalized", [note], buyer.id)
    then(session, [note])
    return invoices.show(session, actor=actor, invoice=str(note))


def _require_invoiced(session: Session, found: Sequence[Charge]) -> None:
    ids = [charge.id for charge in found]
    invoiced = set(
        session.scalars(
            select(InvoiceCharge.charge_id)
            .join(Invoice, Invoice.id == InvoiceCharge.invoice_id)
            .where(
                InvoiceCharge.charge_id.in_(ids),
                InvoiceCharge.released_at.is_(None),
                Invoice.status.in_([InvoiceStatus.FINALIZED, InvoiceStatus.PAID]),
            )
        )
    )
    for charge in found:
        if charge.id not in invoiced:
            raise errors.InvoiceStatusError(
                f"Charge {charge.id} is on no finalized invoice yet; credit it without “now”."
            )
