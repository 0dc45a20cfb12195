"""The seller: the operator as its invoices name it, and where they are paid."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from worker import errors
from worker.billing.parties import SELLER_FIELDS, BankShape, SellerPrinted
from worker.database import zones
from worker.database.lookup import locked
from worker.tables.billing import Seller, SellerBank
from worker.tenancy import currencies, history, parties
from worker.tenancy.actors import Actor


class Bank(BankShape):
    """Where invoices of a currency are paid."""

    currency: str
    """The currency, by its ISO 4217 code."""


class SellerShown(SellerPrinted):
    """The seller: what invoices print, and whose days they are issued on."""

    time_zone: str
    """Whose days are those of issues, payments and due dates, by its IANA name."""
    banks: list[Bank]
    """Where invoices are paid, by currency."""
    lacks: list[str]
    """What is missing of name, address and tax id: without it, only a person finalizes an invoice."""


FIELDS = (*SELLER_FIELDS, "time_zone")


def show(session: Session) -> SellerShown:
    """Give what drafts print of the seller, and its time zone."""
    seller = find(session)
    printed = {field: getattr(seller, field) for field in FIELDS}
    return cast("SellerShown", {**printed, "banks": _banks(session), "lacks": lacks(session)})


def lacks(session: Session) -> list[str]:
    """Say what the seller lacks of name, address and tax id, as schema.sql knows it."""
    return list(session.execute(select(func.seller_lacks())).scalar_one())


def edit(
    session: Session,
    *,
    actor: Actor,
    banks: Sequence[Mapping[str, str]] = (),
    **changes: str | None,
) -> SellerShown:
    """Change what is given of the seller, of FIELDS; finalized invoices keep what they print.

    `banks` are of `currency`, `iban` and `bic`; each takes the place of the one of its currency, and
    one without an IBAN removes it.

    Raises:
        InvalidInputError: the name is empty, or what is given is no time zone, country, electronic or
            e-mail address, IBAN, BIC or currency.
    """
    actor.require()
    given = parties.checked({field: value for field, value in changes.items() if value is not None})
    if given.get("name") == "":
        raise errors.InvalidInputError("Give the seller's name.", field="name")
    if "time_zone" in given:
        given["time_zone"] = zones.check(session.connection(), given["time_zone"])
    seller = find(session, lock=True)
    for field, value in given.items():
        setattr(seller, field, value)
    flag_modified(seller, "name")  # so that a new bank, in a row of its own, is a new version
    told: dict[str, Any] = {**given}
    if banks:
        told["banks"] = [_put(session, bank) for bank in banks]
    session.flush()
    history.record(
        session, actor=actor, action="seller edited", thing="seller", thing_ids=1, **told
    )
    return show(session)


def find(session: Session, *, lock: bool = False) -> Seller:
    """Give the one seller, locked against other changes on demand."""
    wanted = select(Seller)
    return session.scalars(locked(wanted, of=Seller) if lock else wanted).one()


def _put(session: Session, bank: Mapping[str, str]) -> Bank:
    """Keep a currency's account; it is removed where no IBAN is given."""
    currency = currencies.find(session, bank["currency"], field="bank").code
    number, code = bank["iban"].strip(), bank.get("bic", "").strip()
    account: Bank = {
        "currency": currency,
        "iban": parties.iban(number) if number else "",
        "bic": parties.bic(code) if code else "",
    }
    session.execute(
        insert(SellerBank)
        .values(**account)
        .on_conflict_do_update(index_elements=[SellerBank.currency], set_=account)
    )
    return account


def _banks(session: Session) -> list[Bank]:
    accounts = select(SellerBank.currency, SellerBank.iban, SellerBank.bic)
    rows = session.execute(accounts.where(SellerBank.iban != "").order_by(SellerBank.currency))
    return [{"currency": row.currency, "iban": row.iban, "bic": row.bic} for row in rows]
