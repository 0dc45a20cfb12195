"""Seller and buyer on an invoice: their present data, or the copy from its finalization."""

from collections.abc import Mapping
from typing import Any, cast

from babel import Locale
from typing_extensions import TypedDict


class BankShape(TypedDict):
    """The account that invoices of a currency are paid to."""

    iban: str
    """The account's number."""
    bic: str
    """The bank's code, or empty."""


class AddressShape(TypedDict):
    """Where a party is."""

    address: str
    """The address in lines, of a party that has no street, postcode, city and country."""
    street: str
    """Street and number, in one line or more."""
    postcode: str
    """The postal code."""
    city: str
    """The town."""
    country: str
    """The country, by its code of ISO 3166."""


class PartyShape(AddressShape):
    """What an invoice prints of either party."""

    name: str
    """What it is called."""
    tax_id: str
    """The tax number."""
    electronic_address: str
    """Its electronic address for e-invoices: an EN 16931 scheme and the address in it."""


class SellerPrinted(PartyShape):
    """What an invoice prints of the operator, who sells, whatever its currency."""

    contact: str
    """Whom to ask."""
    phone: str
    """That person's telephone number."""
    email: str
    """That person's e-mail address."""
    payment_details: str
    """How to pay, in lines."""


class SellerShape(SellerPrinted):
    """What an invoice prints of the operator, who sells."""

    bank: BankShape | None
    """The account of the invoice's currency."""


class BuyerShape(PartyShape):
    """What an invoice prints of whom it is for."""

    buyer_reference: str
    """What the buyer wants quoted, such as a Leitweg-ID."""
    purchase_order: str
    """The buyer's order."""
    billing_email: str
    """Where its invoices are sent."""
    locale: str
    """In which language it is written to."""
    time_zone: str
    """Whose days the dates are, by its IANA name."""
    payment_terms_days: int
    """How long it may take to pay, in days."""


SELLER_FIELDS = tuple(SellerPrinted.__annotations__)
BUYER_FIELDS = tuple(field for field in BuyerShape.__annotations__ if field != "name")


def _object(row: str, fields: tuple[str, ...], **others: str) -> str:
    """Give SQL for a JSON object of a row's columns and of other expressions."""
    values = {field: f"{row}.{field}" for field in fields} | others
    pairs = ", ".join(f"'{name}', {sql}" for name, sql in values.items())
    return f"jsonb_build_object({pairs})"


# What the invoice of a row `invoice` prints of the rows `seller` and `buyer`, as they are now.
BANK = """(
    SELECT jsonb_build_object('iban', iban, 'bic', bic) FROM seller_bank
     WHERE seller_bank.currency = invoice.currency AND iban <> '')"""
SELLER = _object("seller", SELLER_FIELDS, bank=BANK)
LETTERHEAD = _object("seller", SELLER_FIELDS)  # where no invoice names a currency
BUYER = _object("buyer", BUYER_FIELDS, name="coalesce(nullif(buyer.legal_name, ''), buyer.name)")


def seller(printed: Mapping[str, Any]) -> SellerShape:
    """Give what an invoice has of its seller; an earlier release copied fewer fields."""
    return cast("SellerShape", {**dict.fromkeys(SELLER_FIELDS, ""), "bank": None, **printed})


def buyer(printed: Mapping[str, Any]) -> BuyerShape:
    """Give what an invoice has of its buyer; an earlier release copied fewer fields."""
    return cast("BuyerShape", {**dict.fromkeys(BUYER_FIELDS, ""), **printed})


def address_lines(party: AddressShape, *, locale: Locale) -> list[str]:
    """Give a party's address as an envelope has it, the country in the language of `locale`."""
    if not (party["street"] or party["city"]):
        return party["address"].splitlines()
    town = f"{party['postcode']} {party['city']}".strip()
    country = locale.territories.get(party["country"], party["country"])
    return [line for line in (*party["street"].splitlines(), town, country) if line]
