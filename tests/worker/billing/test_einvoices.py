"""E-invoices: judged by the schemas and rules of EN 16931, their totals added up anew."""

import copy
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from facturx import get_xml_from_pdf
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from tests import en16931
from tests.ledger import OPERATOR, add_buyer, redeem, set_clock
from worker.billing import (
    charges,
    crediting,
    documents,
    einvoices,
    invoices,
    required,
    runs,
    seller,
)
from worker.tenancy import organizations

FORMATS = ("facturx", "xrechnung", "ubl")
SELLER = {
    "name": "Keys GmbH", "street": "Kai 1\nHaus B", "postcode": "20457", "city": "Hamburg", "country": "DE",
    "tax_id": "DE136695976", "contact": "Ann Onym", "phone": "+49 40 123", "email": "ann@keys.example",
    "electronic_address": "0088:4012345000009",
}  # fmt: skip
BANK = {"currency": "EUR", "iban": "DE89370400440532013000", "bic": "COBADEFFXXX"}
BUYER = {
    "legal_name": "Academy gGmbH", "street": "Weg 2", "postcode": "53111", "city": "Bonn", "country": "DE",
    "tax_id": "DE811569869", "buyer_reference": "04011000-12345-34", "purchase_order": "PO-7",
    "electronic_address": "ap@academy.example",
}  # fmt: skip


@pytest.fixture
def buyer(session):
    seller.edit(session, actor=OPERATOR, banks=[BANK], **SELLER)
    buyer = add_buyer(session, tax_rate="19", time_zone="Europe/Berlin")
    organizations.edit(session, actor=OPERATOR, organization=buyer.name, **BUYER)
    return buyer


@pytest.fixture
def draft(session, buyer):
    """A draft of three redemptions at 49.90 EUR; it is 2 June."""
    redeem(session, buyer.pool, "2026-05-05", "2026-05-06", "2026-05-20")
    set_clock(session, "2026-06-02T12:00Z")
    drafted, _ = runs.bill(session, actor=OPERATOR, organization_id=buyer.id)
    return str(*drafted)


@pytest.fixture
def final(session, draft):
    return invoices.finalize(session, actor=OPERATOR, invoice=draft)


def exported(session, invoice: str, format: str) -> bytes:
    made = documents.export(session, actor=OPERATOR, invoice=invoice, format=format)
    return b"".join(made.content)


def taxed(final: Any, *rates: tuple[str, str], sign: int = 1, price: str = "49.90") -> Any:
    """Give the invoice with a line of three for each rate; a credit note's amounts are below zero."""
    made = copy.deepcopy(final)
    line, decimals = made["lines"][0], made["decimals"]
    smallest = Decimal(1).scaleb(-decimals)
    made["lines"], made["taxes"] = [], []
    for category, percent in rates:
        amount = sign * 3 * Decimal(price)
        tax = (amount * Decimal(percent) / 100).quantize(smallest, ROUND_HALF_UP)
        rate = {
            "percent": percent,
            "category": category,
            "exemption": "Why" if percent == "0" else None,
        }
        made["lines"].append(line | {
            "unit_price": str(sign * Decimal(price)), "amount": str(amount),
            "tax_percent": percent, "tax_category": category,
        })  # fmt: skip
        made["taxes"].append({"label": "VAT", "subtotal": str(amount), "tax": str(tax)} | rate)
    return _totalled(made)


def _totalled(made: Any) -> Any:
    subtotal = sum(Decimal(line["amount"]) for line in made["lines"])
    tax = sum(Decimal(one["tax"]) for one in made["taxes"])
    made |= {"subtotal": str(subtotal), "tax": str(tax), "total": str(subtotal + tax)}
    return made


def adds_up(xml: bytes, *, sign: int = 1) -> bool:
    """Add up a document's figures anew: prices by quantities, lines, taxes by rate, totals."""
    told = en16931.figures(xml)
    bases: dict[Any, Decimal] = {rate: base for rate, (base, _) in told["taxes"].items()}
    tax = sum(tax for _, tax in told["taxes"].values())
    return (
        told["lines"] == [p * q for p, q in zip(told["prices"], told["quantities"], strict=True)]
        and sum(told["lines"]) == sum(bases.values()) == told["net"]
        and told["net"] + tax == told["gross"] == told["due"]
        and all(price >= 0 for price in told["prices"])
    )


@pytest.mark.parametrize("format", ["xrechnung", "ubl"])
def test_an_invoice_keeps_the_rules_and_says_what_the_invoice_says(session, final, format):
    xml = exported(session, final["number"], format)

    told = en16931.figures(xml)
    assert en16931.objections(xml) == []
    assert adds_up(xml)
    assert told["gross"] == Decimal(final["total"])
    assert told["taxes"] == {("S", "19"): (Decimal("149.70"), Decimal("28.44"))}
    assert en16931.texts(xml, "ID")[0] == final["number"]
    assert en16931.texts(xml, "IssueDate") == [final["issued_on"]]
    assert en16931.texts(xml, "DueDate") == [final["due_on"]]
    assert en16931.texts(xml, "BuyerReference") == ["04011000-12345-34"]
    assert en16931.texts(xml, "EndpointID") == ["4012345000009", "ap@academy.example"]
    assert en16931.texts(xml, "RegistrationName") == ["Keys GmbH", "Academy gGmbH"]
    assert "DE89370400440532013000" in en16931.texts(xml, "ID")
    assert einvoices.SPECIFIED[format] in en16931.texts(xml, "CustomizationID")


def test_facturx_is_a_pdf_a_3_that_carries_an_xml_of_en_16931(session, final, tmp_path):
    pdf = exported(session, final["number"], "facturx")

    name, xml = get_xml_from_pdf(pdf, check_xsd=True)
    assert name == "factur-x.xml"
    assert en16931.objections(xml) == []
    assert adds_up(xml)
    assert en16931.figures(xml)["gross"] == Decimal(final["total"])
    (tmp_path / "made.pdf").write_bytes(pdf)
    reader = PdfReader(tmp_path / "made.pdf")
    root: Any = reader.trailer["/Root"]
    [attached] = [one.get_object() for one in root["/AF"]]
    [intent] = [one.get_object() for one in root["/OutputIntents"]]
    metadata = root["/Metadata"].get_data().decode()
    assert (attached["/AFRelationship"], attached["/UF"]) == ("/Alternative", "factur-x.xml")
    assert intent["/S"] == "/GTS_PDFA1"
    assert intent["/DestOutputProfile"].get_object()["/N"] == 3
    assert "<pdfaid:part>3</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance>" in metadata
    assert "<fx:ConformanceLevel>EN 16931</fx:ConformanceLevel>" in metadata
    assert all(_is_embedded(font.get_object()) for page in reader.pages for font in _fonts(page))
    assert "/Encrypt" not in reader.trailer
    assert final["number"] in reader.pages[0].extract_text()


def _fonts(page: Any) -> list[Any]:
    return list(page["/Resources"]["/Font"].values())


def _is_embedded(font: Any) -> bool:
    [descendant] = font["/DescendantFonts"]
    return "/FontFile2" in descendant.get_object()["/FontDescriptor"].get_object()


def test_the_same_invoice_gives_the_same_facturx(session, final):
    assert exported(session, final["id"], "facturx") == exported(session, final["id"], "facturx")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "rates",
    [
        [("S", "19"), ("S", "7")], [("S", "19"), ("S", "19")], [("S", "19"), ("Z", "0")], [("Z", "0")],
        [("E", "0")], [("AE", "0")], [("K", "0")], [("G", "0")], [("O", "0")],
        [("S", "19"), ("AE", "0"), ("E", "0")],
    ],
    ids=lambda rates: "+".join(f"{category}{percent}" for category, percent in rates),
)  # fmt: skip
def test_each_category_of_tax_keeps_the_rules(final, rates, format):
    invoice = taxed(final, *rates)

    xml = einvoices.xml(invoice, format=format)

    assert en16931.objections(xml) == []
    assert adds_up(xml)
    assert {category for category, _ in en16931.figures(xml)["taxes"]} == {c for c, _ in rates}


@pytest.mark.parametrize("format", FORMATS)
def test_a_credit_note_has_amounts_above_zero_and_names_what_it_credits(final, format):
    note = taxed(final, ("S", "19"), ("S", "7"), sign=-1) | {
        "title": "Credit note",
        "kind": "credit_note",
        "number": "2026-000002",
    }
    for line in note["lines"]:
        line["credits"] = {"invoice": "2026-000001", "issued_on": "2026-05-04", "reason": "Why"}

    xml = einvoices.xml(note, format=format)

    assert en16931.objections(xml) == []
    assert adds_up(xml)
    assert en16931.figures(xml)["gross"] == -Decimal(note["total"]) > 0
    codes = en16931.texts(xml, "CreditNoteTypeCode") + en16931.texts(xml, "TypeCode")
    assert "381" in codes
    assert (en16931.texts(xml, "IssuerAssignedID") + en16931.texts(xml, "ID")).count(
        "2026-000001"
    ) == 1


@pytest.mark.parametrize("amount", [None, "9.99"])
def test_a_credit_note_of_the_ledger_keeps_the_rules_in_every_format(session, final, amount):
    filters = charges.Filters(invoice=final["id"])
    credited = [
        item["id"] for item in charges.listing(session, actor=OPERATOR, filters=filters).items
    ]

    note = crediting.credit_now(
        session, actor=OPERATOR, charges_=credited[:2], reason="Half a course", amount=amount
    )

    _, hybrid = get_xml_from_pdf(exported(session, note["number"], "facturx"))
    for xml in (hybrid, *(exported(session, note["number"], format) for format in FORMATS[1:])):
        assert en16931.objections(xml) == []
        assert adds_up(xml)
        assert en16931.figures(xml)["gross"] == -Decimal(note["total"]) > 0
        assert final["number"] in en16931.texts(xml, "ID") + en16931.texts(xml, "IssuerAssignedID")
        assert "Half a course" in en16931.texts(xml, "Note") + en16931.texts(xml, "Content")


def test_what_is_given_back_on_an_invoice_has_a_quantity_below_zero(final):
    invoice = taxed(final, ("S", "19"), ("S", "19"))
    invoice["lines"][1] |= {"unit_price": "-9.90", "quantity": 1, "amount": "-9.90"}
    invoice["taxes"] = [invoice["taxes"][0] | {"subtotal": "139.80", "tax": "26.56"}]

    xml = einvoices.xml(_totalled(invoice), format="ubl")

    assert en16931.objections(xml) == []
    assert en16931.figures(xml)["quantities"] == [3, -1]


def test_yen_have_no_decimals(final):
    invoice = taxed(final | {"currency": "JPY", "decimals": 0}, ("S", "10"), price="4990")

    xml = einvoices.xml(invoice, format="ubl")

    assert en16931.objections(xml) == []
    assert en16931.texts(xml, "PayableAmount") == ["16467"]


@settings(max_examples=15)
@given(
    prices=st.lists(st.decimals("0", "99999", places=2), min_size=1, max_size=6),
    percents=st.lists(st.sampled_from(["19", "7", "5.5", "2.75"]), min_size=6, max_size=6),
)
def test_any_prices_and_rates_add_up_within_the_rules(prices, percents):
    made: Any = None
    for price, percent in zip(prices, percents, strict=False):
        one = taxed(SAMPLE, ("S", percent), price=str(price))
        made = one if made is None else made | {
            "lines": made["lines"] + one["lines"], "taxes": made["taxes"] + one["taxes"]
        }  # fmt: skip

    for format in FORMATS:
        xml = einvoices.xml(_totalled(made), format=format)
        assert en16931.objections(xml) == []
        assert adds_up(xml)


# An invoice as `invoices.show` gives it, without a database.
SAMPLE: Any = {
    "id": "1", "number": "2026-000001", "title": "Invoice", "kind": "invoice", "currency": "EUR",
    "decimals": 2, "status": "finalized", "issued_on": "2026-06-02", "due_on": "2026-07-02",
    "seller": {**SELLER, "bank": BANK, "payment_details": ""},
    "buyer": {**BUYER, "name": "Academy", "electronic_address": "EM:ap@academy.example"},
    "lines": [{
        "course": "K8S", "course_title": "Kubernetes", "pool_name": "Spring", "kind": "redemption",
        "service_month": "2026-05", "quantity": 3,
    }],
}  # fmt: skip


def test_a_draft_says_which_fields_are_missing_and_is_none_to_send(session, buyer, draft):
    organizations.edit(
        session, actor=OPERATOR, organization=buyer.name, buyer_reference="", country=""
    )
    seller.edit(session, actor=OPERATOR, phone="")

    shown = invoices.show(session, actor=OPERATOR, invoice=draft)

    assert set(shown["missing"]) == {"buyer.country", "buyer.buyer_reference", "seller.phone"}
    with pytest.raises(einvoices.NoEInvoiceError) as refusal:
        exported(session, draft, "xrechnung")
    assert all(field in str(refusal.value) for field in shown["missing"])


def test_a_draft_that_lacks_nothing_is_still_none_to_send(session, draft):
    assert invoices.show(session, actor=OPERATOR, invoice=draft)["missing"] == []
    with pytest.raises(einvoices.NoEInvoiceError, match="draft"):
        exported(session, draft, "ubl")


def test_each_format_needs_what_its_readers_need(final):
    bare: Any = copy.deepcopy(final)
    for name in (
        "contact",
        "phone",
        "email",
        "electronic_address",
        "city",
        "postcode",
        "payment_details",
    ):
        bare["seller"][name] = ""
    bare["seller"]["bank"] = None
    for name in ("buyer_reference", "electronic_address", "city", "postcode"):
        bare["buyer"][name] = ""

    missing = {
        format: required.missing(
            format, seller=bare["seller"], buyer=bare["buyer"], categories={"S"}
        )
        for format in FORMATS
    }

    assert missing["facturx"] == []
    assert missing["ubl"] == [
        "seller.electronic_address",
        "buyer.electronic_address",
    ]  # it has an order
    assert set(missing["xrechnung"]) >= {
        "seller.bank", "seller.contact", "seller.phone", "buyer.buyer_reference", "buyer.city"
    }  # fmt: skip


@pytest.mark.parametrize(("category", "field"), [("AE", "buyer.tax_id"), ("K", "seller.tax_id")])
def test_tax_that_is_shifted_or_left_to_another_country_needs_vat_numbers(final, category, field):
    final["seller"]["tax_id"], final["buyer"]["tax_id"] = "12/345/67890", ""

    lacking = required.missing(
        "facturx", seller=final["seller"], buyer=final["buyer"], categories={category}
    )

    assert field in lacking


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"currency": "KWD", "decimals": 3}, "EN 16931 has two decimals, and KWD has 3"),
        ({"status": "void"}, "is none to send"),
    ],
)
def test_what_the_standard_cannot_say_is_refused(final, changes, sentence):
    with pytest.raises(einvoices.NoEInvoiceError, match=sentence):
        einvoices.xml(final | changes, format="ubl")


def test_supplies_outside_the_scope_of_tax_stand_alone(final):
    with pytest.raises(einvoices.NoEInvoiceError, match="outside the scope of tax"):
        einvoices.xml(taxed(final, ("S", "19"), ("O", "0")), format="facturx")
