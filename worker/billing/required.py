"""Which fields of seller and buyer an e-invoice needs, and which of them are missing."""

import re
from collections.abc import Collection
from typing import Literal

from worker.billing.parties import BuyerShape, SellerShape
from worker.tenancy import parties

EInvoice = Literal["facturx", "xrechnung", "ubl"]

# By field as the invoice object names it. EN 16931 asks for the first; Peppol, which carries UBL, for
# more (PEPPOL-EN16931-R003, R010, R020); XRechnung for the most (BR-DE-1 to 9, 15).
CORE = ["seller.name", "seller.country", "seller.tax_id", "buyer.name", "buyer.country"]
DELIVERED = ["seller.electronic_address", "buyer.electronic_address", "buyer.buyer_reference"]
GERMAN = [
    "seller.city", "seller.postcode", "seller.contact", "seller.phone", "seller.email",
    "seller.bank", "buyer.city", "buyer.postcode",
]  # fmt: skip
NEEDED: dict[EInvoice, list[str]] = {
    "facturx": CORE,
    "ubl": [*CORE, *DELIVERED],
    "xrechnung": [*CORE, *DELIVERED, *GERMAN],
}
# Codes of tax that shift it to the buyer, or to another country: both are known by VAT numbers.
BETWEEN_VAT_NUMBERS = {"AE", "K"}
ABROAD = {"K", "G"}
VAT = re.compile("([A-Z]{2})[0-9A-Z+*]{2,}")


def missing(
    format: EInvoice, *, seller: SellerShape, buyer: BuyerShape, categories: Collection[str]
) -> list[str]:
    """Name the fields that an e-invoice needs and that are empty, such as `buyer.country`.

    `categories` are EN 16931's codes of the taxes on the invoice.
    """
    has = {f"seller.{name}": value for name, value in seller.items()}
    has |= {f"buyer.{name}": value for name, value in buyer.items()}
    has["seller.bank"] = seller["bank"] or seller["payment_details"]
    if format == "ubl":  # either will do
        has["buyer.buyer_reference"] = buyer["buyer_reference"] or buyer["purchase_order"]
    needed = list(NEEDED[format])
    if BETWEEN_VAT_NUMBERS.intersection(categories):
        has["buyer.tax_id"] = vat_number(buyer["tax_id"])
        needed.append("buyer.tax_id")
    if ABROAD.intersection(categories):
        has["seller.tax_id"] = vat_number(seller["tax_id"])
    return [field for field in needed if not has[field]]


def vat_number(tax_id: str) -> str | None:
    """Give a tax number as a VAT number with its country's code, where it is one."""
    compact = re.sub(r"[\s.-]", "", tax_id.upper())
    found = VAT.fullmatch(compact)
    return compact if found and (found[1] == "EL" or parties.is_country(found[1])) else None
