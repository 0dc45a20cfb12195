"""Invoices as files: read back and compared with the invoice itself."""

import csv
import io
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, Buyer, add_buyer, redeem, set_clock
from tests.worker.billing.paper import words
from worker import errors
from worker.billing import charges, documents, invoices, payments, runs
from worker.billing.pdf import invoice_pdf
from worker.tenancy import actors, organizations


@pytest.fixture
def buyer(session: Session) -> Buyer:
    return add_buyer(session, tax_rate="19", time_zone="Europe/Berlin")


@pytest.fixture
def final(session: Session, buyer: Buyer) -> dict[str, Any]:
    """Invoice 2026-000001: three redemptions in May, one for a branch; a credit note is beside it."""
    child = organizations.add(session, actor=OPERATOR, name="Branch", parent=buyer.name)
    organizations.edit(
        session,
        actor=OPERATOR,
        organization=buyer.name,
        legal_name="Academy gGmbH",
        address="Lehrter Str. 5\n10557 Berlin",
        tax_id="DE987654321",
    )
    session.execute(
        text("""UPDATE seller SET name = 'Operator GmbH', street = '', city = '',
                    address = 'Hauptstraße 12\n10115 Berlin',
                    tax_id = 'DE123456789', payment_details = 'IBAN DE89 3704 0044 0532 0130 00'""")
    )
    first, _ = redeem(session, buyer.pool, "2026-05-05T08:30", "2026-05-06")
    redeem(session, buyer.pool, "2026-05-07", learner_organization=int(child["id"]))
    set_clock(session, "2026-05-20T12:00Z")
    charges.credit(
        session, actor=OPERATOR, charge=str(first), amount="9.90", reason="-half day lost"
    )
    set_clock(session, "2026-06-04T22:30Z")
    _, (made, _) = runs.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=timedelta())
    return invoices.show(session, actor=OPERATOR, invoice=str(made))


def exported(session: Session, format: str, invoice: str = "2026-000001") -> documents.Document:
    return documents.export(session, actor=OPERATOR, invoice=invoice, format=format)


def rows(document: documents.Document) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(document.content).decode())))


# JSON and CSV -------------------------------------------------------------------------------------


def test_json_is_the_invoice_itself(session, final):
    document = exported(session, "json")

    assert (document.name, document.media_type) == ("invoice-2026-000001.json", "application/json")
    read = json.loads(b"".join(document.content))
    assert read == json.loads(json.dumps(final, default=datetime.isoformat))
    assert read["finalized_at"] == "2026-06-04T22:30:00+00:00"


def test_the_lines_as_csv_add_up_to_the_invoice(session, final):
    document = exported(session, "csv")

    lines = rows(document)
    assert (document.name, document.media_type) == ("invoice-2026-000001.csv", "text/csv")
    assert ",".join(lines[0]) + "\n" == documents.LINES_HEADER
    assert [(r["kind"], r["unit_price"], r["quantity"], r["amount"]) for r in lines] == [
        ("redemption", "49.90", "3", "149.70"),
    ]
    assert sum(Decimal(r["amount"]) for r in lines) == Decimal(final["subtotal"])


def test_the_detail_names_every_charge_and_adds_up_too(session, buyer, final):
    detail = rows(exported(session, "detail"))

    assert ",".join(detail[0]) + "\n" == documents.DETAIL_HEADER
    assert [r["occurred_at"] for r in detail][:2] == [
        "2026-05-05T08:30:00.000000Z",
        "2026-05-06T00:00:00.000000Z",
    ]
    assert [r["learner_organization"] for r in detail] == ["Academy", "Academy", "Branch"]
    assert all(re.fullmatch("[0-9a-f-]{36}", r["key"]) for r in detail)
    assert {r["invoice"] for r in detail} == {"2026-000001"}
    assert sum(Decimal(r["amount"]) for r in detail) == Decimal(final["subtotal"])


def test_a_void_invoice_keeps_its_detail(session, buyer):
    redeem(session, buyer.pool, "2026-05-05", "2026-05-06")
    set_clock(session, "2026-06-04T22:30Z")
    runs.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=timedelta())
    before = rows(exported(session, "detail"))

    invoices.void(session, actor=OPERATOR, invoice="2026-000001", reason="wrong address")

    assert len(before) == 2
    assert rows(exported(session, "detail")) == before


def test_no_cell_runs_as_a_formula_and_amounts_stay_numbers(session, final):
    session.execute(text("UPDATE learner SET name = '=HYPERLINK(1)'"))

    detail = rows(exported(session, "detail"))
    (credit,) = rows(exported(session, "detail", "2026-000002"))

    assert detail[0]["learner_name"] == "'=HYPERLINK(1)"
    assert (credit["reason"], credit["amount"]) == ("'-half day lost", "-9.90")
    assert credit["credits"] == detail[0]["charge"]


def test_the_lines_of_a_credit_note_as_csv_name_what_they_credit(session, final):
    (line,) = rows(exported(session, "csv", "2026-000002"))

    assert (line["kind"], line["amount"], line["tax_percent"]) == ("credit", "-9.90", "19")
    assert (line["credits_invoice"], line["credits_issued_on"]) == ("2026-000001", "2026-06-04")
    assert line["reason"] == "'-half day lost"


def test_a_long_detail_comes_in_pieces(session, buyer, monkeypatch):
    monkeypatch.setattr(documents, "LINES_PER_BLOCK", 10)
    redeem(session, buyer.pool, *["2026-05-05"] * 35)
    set_clock(session, "2026-06-20")
    (draft,), _ = runs.bill(session, actor=OPERATOR, organization_id=buyer.id)

    document = exported(session, "detail", str(draft))

    pieces = list(document.content)
    assert document.name == f"invoice-draft-{draft}-detail.csv"
    assert len(pieces) == 5
    assert b"".join(pieces).count(b"\n") == 36


def test_a_format_that_is_none_is_refused(session, final):
    with pytest.raises(errors.InvalidInputError, match="one of csv, detail, pdf, json"):
        exported(session, "xlsx")


@pytest.mark.parametrize("format", ["json", "csv", "detail", "pdf"])
def test_a_foreign_invoice_is_not_exported(session, final, format):
    stranger = actors.Actor("x", actors.Role.FINANCE, add_buyer(session, "Stranger").id)

    with pytest.raises(errors.NotFoundError):
        documents.export(session, actor=stranger, invoice=final["id"], format=format)


# PDF ----------------------------------------------------------------------------------------------


def test_the_pdf_says_what_the_invoice_says(session, final):
    document = exported(session, "pdf")

    pdf = b"".join(document.content)
    assert (document.name, document.media_type) == ("invoice-2026-000001.pdf", "application/pdf")
    for expected in (
        "Invoice", "2026-000001", "Operator GmbH", "Hauptstraße 12", "Tax id DE123456789",
        "Academy gGmbH", "10557 Berlin", "Tax id DE987654321",
        "4 June 2026", "May 2026", "4 July 2026",  # the seller's days: it is 5 June in Berlin
        "A course (C-Academy)", "49.90 149.70",
        "Subtotal €149.70", "Tax 19 % €28.44", "Total €178.14",
        "Academy €99.80", "Branch €49.90",
        "Please pay €166.36 by 4 July 2026, quoting 2026-000001.", "IBAN DE89 3704 0044 0532 0130 00",
        "page 1 of 1",
    ):  # fmt: skip
        assert expected in words(pdf)


def test_the_pdf_says_what_was_paid_and_credited_of_the_total_and_what_is_open(session, final):
    payments.pay(session, actor=OPERATOR, invoice=final["id"], on="2026-06-04", amount="100")

    invoice = words(b"".join(exported(session, "pdf").content))
    note = words(b"".join(exported(session, "pdf", "2026-000002").content))

    paid = "Paid 4 June 2026 -€100.00 Credited -€11.78 Open €66.36"
    assert f"Total €178.14 {paid} " in invoice
    assert "Please pay €66.36 by" in invoice
    assert "Total -€11.78 Set against invoices €11.78 Open €0.00" in note


def test_the_same_invoice_gives_the_same_pdf(final):
    assert invoice_pdf(final) == invoice_pdf(final)
