"""Statements: what is open on a day, and for how long it is overdue."""

import csv
import io
import re
from datetime import timedelta

import pytest
from pypdf import PdfReader
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, Buyer, add_buyer, bill, redeem, set_clock
from worker import errors
from worker.billing import crediting, documents, invoices, letters, payments, seller, statements
from worker.billing.statements import AGES
from worker.tenancy import actors, organizations

NO_GRACE = timedelta()


@pytest.fixture
def buyer(session: Session) -> Buyer:
    """Invoices of January to May of 49.90 each, issued on the 10th of the next month, due in 30 days."""
    buyer = add_buyer(session)
    for month in range(1, 6):
        redeem(session, buyer.pool, f"2026-0{month}-05")
        set_clock(session, f"2026-0{month + 1}-10T12:00Z")
        bill(session, buyer, grace=NO_GRACE)
    return buyer


def stated(session: Session, on: str | None = None) -> statements.Statement:
    return statements.of(session, actor=OPERATOR, organization="Academy", on=on)


def test_what_is_open_is_told_by_how_long_it_is_overdue(session, buyer):
    set_clock(session, "2026-07-01T12:00Z")

    told = stated(session)

    assert (told["organization"], told["on"]) == ("Academy", "2026-07-01")
    assert [
        (item["number"], item["due_on"], item["days_overdue"], item["age"])
        for item in told["items"]
    ] == [
        ("2026-000001", "2026-03-12", 111, "more"),
        ("2026-000002", "2026-04-09", 83, "days_61_90"),
        ("2026-000003", "2026-05-10", 52, "days_31_60"),
        ("2026-000004", "2026-06-09", 22, "days_0_30"),
        ("2026-000005", "2026-07-10", 0, "not_due"),
    ]
    (ageing,) = told["ageing"]
    assert ageing == {
        "currency": "EUR",
        **{age: "49.90" for age in AGES if age != "credit"},
        "credit": "0.00",
        "open": "249.50",
    }


def test_later_payments_and_credit_notes_do_not_count(session, buyer):
    payments.pay(session, actor=OPERATOR, invoice="2026-000001", on="2026-06-10")

    assert "2026-000001" not in {item["number"] for item in stated(session)["items"]}
    before = {item["number"]: item["open"] for item in stated(session, "2026-06-09")["items"]}
    assert before["2026-000001"] == "49.90"
    assert "2026-000005" not in before


def test_a_later_voiding_does_not_count_for_the_sellers_days_before_it(session, buyer):
    seller.edit(session, actor=OPERATOR, time_zone="Pacific/Honolulu")
    set_clock(session, "2026-06-20T05:00Z")  # still 19 June in Honolulu
    invoices.void(session, actor=OPERATOR, invoice="2026-000001", reason="Wrong address")

    opens = {
        on: {item["number"]: item["open"] for item in stated(session, on)["items"]}
        for on in ("2026-06-18", "2026-06-19")
    }

    assert opens["2026-06-18"]["2026-000001"] == "49.90"
    assert "2026-000001" not in opens["2026-06-19"]
    assert stated(session)["on"] == "2026-06-19"


def test_what_a_credit_note_has_over_stands_to_the_organizations_credit(session, buyer):
    payments.pay(session, actor=OPERATOR, invoice="2026-000001", on="2026-06-10", amount="40")
    (charge,) = redeem(session, buyer.pool, "2026-06-01")
    set_clock(session, "2026-07-10T12:00Z")
    bill(session, buyer, grace=NO_GRACE)
    payments.pay(session, actor=OPERATOR, invoice="2026-000006", on="2026-07-10", amount="30")
    crediting.credit_now(
        session, actor=OPERATOR, charges_=[str(charge)], reason="gone", anyway=True
    )

    told = stated(session)

    opens = {item["number"]: (item["open"], item["age"]) for item in told["items"]}
    assert opens["2026-000001"] == ("9.90", "more")
    assert "2026-000006" not in opens
    assert opens["2026-000007"] == ("-30.00", "credit")
    assert (told["ageing"][0]["credit"], told["ageing"][0]["open"]) == ("-30.00", "179.50")


def test_the_table_has_each_document(session, buyer):
    rows = list(csv.DictReader(io.StringIO(b"".join(statements.as_csv(stated(session))).decode())))

    assert [row["number"] for row in rows] == [f"2026-00000{n}" for n in range(1, 6)]
    assert (rows[0]["organization"], rows[0]["open"], rows[0]["age"]) == (
        "Academy", "49.90", "days_61_90",
    )  # fmt: skip


def test_nothing_open_is_an_empty_statement(session):
    add_buyer(session)

    assert (stated(session)["items"], stated(session)["ageing"]) == ([], [])


def test_a_day_to_come_is_refused(session, buyer):
    with pytest.raises(errors.InvalidInputError, match="is yet to come"):
        stated(session, "2026-06-11")


def test_a_stranger_sees_no_statement(session, buyer):
    stranger = actors.Actor("x", actors.Role.FINANCE, add_buyer(session, "Stranger").id)

    with pytest.raises(errors.NotFoundError):
        statements.of(session, actor=stranger, organization="Academy")


def test_a_statement_is_printed_in_its_organizations_language(session, buyer):
    organizations.edit(session, actor=OPERATOR, organization="Academy", locale="de")
    set_clock(session, "2026-07-01T12:00Z")

    made = documents.statement(session, actor=OPERATOR, organization="Academy")
    again = documents.statement(session, actor=OPERATOR, organization="Academy")
    printed = b"".join(made.content)
    words = " ".join(PdfReader(io.BytesIO(printed)).pages[0].extract_text().split())

    assert (made.name, made.media_type) == ("statement-2026-07-01.pdf", "application/pdf")
    assert printed == b"".join(again.content)
    for said in (
        "Kontoauszug",
        "Offen am Ende des 1. Juli 2026",
        "Academy",
        "Über 90 Tage",
        "249,50",
    ):
        assert said in words
    for month in range(1, 6):
        assert f"Rechnung 2026-00000{month}" in words


def test_a_long_statement_has_its_heads_on_each_page_and_each_document_once(session, buyer):
    told = stated(session)
    item = told["items"][0]
    many = [{**item, "number": f"2026-{number:06}"} for number in range(1, 121)]
    long = letters.letter(session, {**told, "items": many})

    pages = [
        page.extract_text() for page in PdfReader(io.BytesIO(letters.statement_pdf(long))).pages
    ]

    assert len(pages) > 2
    assert all("Days overdue" in page for page in pages)
    numbers = [number for page in pages for number in re.findall(r"2026-\d{6}", page)]
    assert numbers == [one["number"] for one in many]


def test_a_statement_of_nothing_says_so(session):
    add_buyer(session)

    made = documents.statement(session, actor=OPERATOR, organization="Academy")

    assert (
        "Nothing is open." in PdfReader(io.BytesIO(b"".join(made.content))).pages[0].extract_text()
    )
