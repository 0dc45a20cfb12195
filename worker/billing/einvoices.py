"""E-invoices of EN 16931: the XML of an invoice or credit note, in the syntaxes that buyers take (B7).

The library factur-x writes the XML from the standard's business terms (`BT-1` is the number); which
of ours each term is, is said here.
"""

import calendar
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any

from facturx.generate_xml import generate_cii_xml, generate_ubl_xml
from lxml import etree

from worker import errors
from worker.billing import required
from worker.billing.invoices import InvoiceShown
from worker.billing.lines import LineShown
from worker.billing.parties import BuyerShape, SellerShape
from worker.billing.required import EInvoice

PEPPOL = "urn:fdc:peppol.eu:2017:poacc:billing:01:1.0"  # the process
# The specifications that an invoice says it keeps to.
SPECIFIED = {
    "ubl": "urn:cen.eu:en16931:2017#compliant#urn:fdc:peppol.eu:2017:poacc:billing:3.0",
    "xrechnung": "urn:cen.eu:en16931:2017#compliant#urn:xeinkauf.de:kosit:xrechnung_3.0",
}
INVOICE, CREDIT_NOTE = "380", "381"  # UNTDID 1001
PIECE = "C62"  # UN/ECE Recommendation 20: one
TRANSFER, SEPA, UNDEFINED = "30", "58", "1"  # UNTDID 4461
# Why no tax is charged, by category; the sentence of the rate says it in words.
REASONS = {"AE": "VATEX-EU-AE", "K": "VATEX-EU-IC", "G": "VATEX-EU-G", "O": "VATEX-EU-O"}
TAXED = ("S", "Z")  # needs no reason for it, and may have none
OUTSIDE = "O"  # outside the scope of tax: without rates and VAT numbers
EXACT = 2  # decimals that EN 16931 has

Terms = dict[str, Any]


class NoEInvoiceError(errors.RefusedError):
    """No e-invoice can be made of it."""


def xml(invoice: InvoiceShown, *, format: EInvoice) -> bytes:
    """Write a finalized invoice as XML: CII for `facturx`, UBL for `xrechnung` and `ubl`.

    Raises:
        NoEInvoiceError: it is a draft or void; a field is missing, which is named; or the standard
            cannot say it: amounts of three decimals, supplies outside the scope of tax beside others.
    """
    if (why := objection(invoice, format=format)) is not None:
        raise NoEInvoiceError(why)
    terms = _terms(invoice)
    if format == "facturx":
        return bytes(
            generate_cii_xml(terms, level="en16931", check_xsd=False, check_schematron=False)
        )
    terms["BT-23"] = PEPPOL
    written = generate_ubl_xml(terms, level="en16931", check_xsd=False, check_schematron=False)
    return _specified(written, SPECIFIED[format])


def objection(invoice: InvoiceShown, *, format: EInvoice) -> str | None:
    """Say why there is no e-invoice of an invoice; None where there is one."""
    called = f"Invoice {invoice['number'] or invoice['id']} ({invoice['status']})"
    categories = {tax["category"] for tax in invoice["taxes"]}
    lacking = required.missing(
        format, seller=invoice["seller"], buyer=invoice["buyer"], categories=categories
    )
    if lacking:
        return f"{called} lacks what {format} needs: {', '.join(lacking)}."
    if invoice["status"] in ("draft", "void"):
        return f"{called} is none to send as an e-invoice; a finalized one is."
    if invoice["decimals"] > EXACT:
        return f"EN 16931 has two decimals, and {invoice['currency']} has {invoice['decimals']}."
    if OUTSIDE in categories and len(categories) > 1:
        return f"{called} has supplies outside the scope of tax (O) beside others, which EN 16931 forbids."
    return None if invoice["lines"] else f"{called} has no lines."


def _specified(written: bytes, specification: str) -> bytes:
    """Say in UBL which specification it keeps to."""
    root: Any = etree.fromstring(written)
    root.find("{*}CustomizationID").text = specification
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True))


def _terms(invoice: InvoiceShown) -> Terms:
    """Give the standard's business terms of an invoice; a credit note's amounts are positive."""
    sign = -1 if _is_credit_note(invoice) else 1
    seller, buyer = invoice["seller"], invoice["buyer"]
    outside = any(tax["category"] == OUTSIDE for tax in invoice["taxes"])
    lines = [_line(place, line, sign) for place, line in enumerate(invoice["lines"], start=1)]
    return _filled({
        "BT-1": invoice["number"],
        "BT-2": invoice["issued_on"],
        "BT-3": CREDIT_NOTE if sign < 0 else INVOICE,
        "BT-5": invoice["currency"],
        "BT-9": invoice["due_on"],
        "BT-10": buyer["buyer_reference"],
        "BT-13": buyer["purchase_order"],
        "BT-73": min(line["BT-134"] for line in lines),
        "BT-74": max(line["BT-135"] for line in lines),
        **_payment(invoice),
        "BT-106": _signed(invoice["subtotal"], sign),
        "BT-109": _signed(invoice["subtotal"], sign),
        "BT-110": _signed(invoice["tax"], sign),
        "BT-112": _signed(invoice["total"], sign),
        "BT-115": _signed(invoice["total"], sign),
        "BG-3": _credited(invoice["lines"]),
        "BG-4": _seller(seller, outside),
        "BG-7": _buyer(buyer, outside),
        "BG-13": _filled(_party(buyer)),  # supplies within the Union have to say where they go
        "BG-23": _taxes(invoice, sign),
        "BG-25": lines,
    })  # fmt: skip


def _is_credit_note(invoice: InvoiceShown) -> bool:
    return invoice["title"] == "Credit note"


def _payment(invoice: InvoiceShown) -> Terms:
    seller, number = invoice["seller"], invoice["number"]
    if seller["bank"] is None:
        return {"BT-81": UNDEFINED, "BT-82": seller["payment_details"], "BT-83": number}
    return {
        "BT-81": SEPA if invoice["currency"] == "EUR" else TRANSFER,
        "BT-83": number,
        "BT-84": seller["bank"]["iban"],
        "BT-85": seller["name"],
        "BT-86": seller["bank"]["bic"],
    }


def _seller(seller: SellerShape, outside: bool) -> Terms:
    vat = None if outside else required.vat_number(seller["tax_id"])
    contact = _filled({name: seller[name] for name in ("phone", "email")})
    if seller["contact"]:
        contact["name"] = seller["contact"]
    return _filled({
        **_party(seller),
        "vat_identifier": vat,
        "tax_identifier": None if vat else seller["tax_id"],
        "legal_identifier": None if vat else seller["tax_id"],
        "contacts": [contact] if contact else None,
    })  # fmt: skip


def _buyer(buyer: BuyerShape, outside: bool) -> Terms:
    vat = None if outside else required.vat_number(buyer["tax_id"])
    return _filled({
        **_party(buyer),
        "vat_identifier": vat,
        "legal_identifier": None if vat else buyer["tax_id"],
    })  # fmt: skip


def _party(party: SellerShape | BuyerShape) -> Terms:
    scheme, _, address = party["electronic_address"].partition(":")
    lines = (party["street"] or party["address"]).splitlines()[:3]
    return {
        "name": party["name"],
        **{f"addr_l{place}": line for place, line in enumerate(lines, start=1)},
        "postcode": party["postcode"],
        "city": party["city"],
        "country_code": party["country"],
        "einvoicing_addr": address,
        "einvoicing_addr_schemeid": scheme,
    }


def _taxes(invoice: InvoiceShown, sign: int) -> list[Terms]:
    """Give the tax by category and rate: rates of other names that are alike are one."""

    def rate(tax: Mapping[str, Any]) -> tuple[str, Decimal]:
        return tax["category"], Decimal(tax["percent"])

    return [
        _tax(category, percent, list(alike), sign)
        for (category, percent), alike in groupby(sorted(invoice["taxes"], key=rate), rate)
    ]


def _tax(category: str, percent: Decimal, alike: list[Any], sign: int) -> Terms:
    sentences = dict.fromkeys(tax["exemption"] for tax in alike if tax["exemption"])
    return _filled({
        "BT-116": str(sign * sum(Decimal(tax["subtotal"]) for tax in alike)),
        "BT-117": str(sign * sum(Decimal(tax["tax"]) for tax in alike)),
        "BT-118": category,
        "BT-119": None if category == OUTSIDE else _plain(percent),
        "BT-120": None if category in TAXED else " ".join(sentences),
        "BT-121": REASONS.get(category),
    })  # fmt: skip


def _line(place: int, line: LineShown, sign: int) -> Terms:
    """Give a line's terms: a price is never below zero, so what is given back has the quantity so."""
    price, first = Decimal(line["unit_price"]), date.fromisoformat(f"{line['service_month']}-01")
    quantity = sign * line["quantity"] * (-1 if price < 0 else 1)
    last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
    outside = line["tax_category"] == OUTSIDE
    credited = line.get("credits")
    return _filled({
        "BT-126": str(place),
        "BT-127-00": [{"BT-127": credited["reason"]}] if credited else None,
        "BT-129": str(quantity),
        "BT-130": PIECE,
        "BT-131": _signed(line["amount"], sign),
        "BT-134": first,
        "BT-135": last,
        "BT-146": str(abs(price)),
        "BT-151": line["tax_category"],
        "BT-152": None if outside else _plain(Decimal(line["tax_percent"])),
        "BT-153": line["course_title"],
        "BT-154": f"{line['pool_name']} · {line['kind']} · {line['service_month']}",
        "BT-155": line["course"],
    })  # fmt: skip


def _credited(lines: Iterable[Any]) -> list[Terms]:
    """Name the invoices that a credit note's lines give back of, once each."""
    credits = (line.get("credits") for line in lines)
    named = {one["invoice"]: one["issued_on"] for one in credits if one}
    return [{"BT-25": number, "BT-26": day} for number, day in named.items()]


def _signed(amount: str, sign: int) -> str:
    return str(sign * Decimal(amount))


def _plain(percent: Decimal) -> str:
    return f"{percent.normalize():f}"


def _filled(terms: Terms) -> Terms:
    """Leave out what is empty: the library would write it."""
    return {term: value for term, value in terms.items() if value not in (None, "", [])}
