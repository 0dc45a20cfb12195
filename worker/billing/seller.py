"""The seller: the operator's details on invoices, and its bank accounts."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from worker import errors
from worker.billing.accounts import changed
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
    """The seller: its details on invoices, and its time zone."""

    time_zone: str
    """The time zone of issue dates, payments and due dates, as an IANA name."""
    zero_invoices: Literal["keep", "skip"]
    """Whether an invoice of 0 is kept, as paid, or not made."""
    banks: list[Bank]
    """Where invoices are paid, by currency."""
    accounts: dict[str, str]
    """The journals' accounts: `receivables`, `revenue`, `revenue:COURSE`, `tax`, `tax:PERCENT`, and of deferred
    revenue `unbilled`, `deferred`, `earned`, `earned:COURSE`."""
    lacks: list[str]
    """Which of name, address and tax id are missing; meanwhile only a person can finalize invoices."""


FIELDS = (*SELLER_FIELDS, "time_zone", "zero_invoices")


def show(session: Session) -> SellerShown:
    """Give the seller's details on drafts, and its time zone."""
    seller = find(session)
    printed = {field: getattr(seller, field) for field in FIELDS}
    accounts = dict(sorted(seller.accounts.items()))
    more = {"banks": _banks(session), "accounts": accounts, "lacks": lacks(session)}
    return cast("SellerShown", {**printed, **more})


def lacks(session: Session) -> list[str]:
    """Give which of name, address and tax id the seller lacks, as schema.sql computes it."""
    return list(session.execute(select(func.seller_lacks())).scalar_one())


def edit(
    session: Session,
    /,
    *,
    actor: Actor,
    banks: Sequence[Mapping[str, str]] = (),
    accounts: Mapping[str, str] | None = None,
    **changes: str | None,
) -> SellerShown:
    """Change the given FIELDS of the seller; finalized invoices keep their copies.

    `banks` have `currency`, `iban` and `bic`; each replaces the one of its currency, or removes it if
    it has no IBAN. `accounts` are changed as `accounts.changed` says.

    Raises:
        InvalidInputError: the name is empty, or what is given is no time zone, country, electronic or
            e-mail address, IBAN, BIC or currency.
    """
    actor.require()
    fields = parties.checked(
        {field: value for field, value in changes.items() if value is not None}
    )
    if fields.get("name") == "":
        raise errors.InvalidInputError("Give the seller's name.", field="name")
    if fields.get("zero_invoices", "keep") not in ("keep", "skip"):
        raise errors.InvalidInputError("Say keep or skip.", field="zero_invoices")
    if "time_zone" in fields:
        fields["time_zone"] = zones.check(session.connection(), fields["time_zone"])
    seller = find(session, lock=True)
    for field, value in fields.items():
        setattr(seller, field, value)
    flag_modified(seller, "name")  # a new version, even if only a bank (another table) changed
    detail: dict[str, Any] = {**fields}
    if banks:
        detail["banks"] = [_put(session, bank) for bank in banks]
    if accounts:
        seller.accounts = changed(session, seller.accounts, accounts)
        detail["accounts"] = dict(accounts)
    session.flush()
    history.record(
        session, actor=actor, action="seller edited", thing="seller", thing_ids=1, **detail
    )
    return show(session)


def find(session: Session, *, lock: bool = False) -> Seller:
    """Give the seller's row, locked against other changes on demand."""
    statement = select(Seller)
    return session.scalars(locked(statement, of=Seller) if lock else statement).one()


def _put(session: Session, bank: Mapping[str, str]) -> Bank:
    """Store a currency's account; without an IBAN remove it."""
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
