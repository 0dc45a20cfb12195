"""A period's invoices in one zip, and as a journal whose exports add up to the ledger."""

import csv
import io
import zipfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tests import en16931
from tests.ledger import OPERATOR, add_buyer, add_pool, redeem, set_clock
from worker import errors
from worker.billing import charges, crediting, handing_over, invoices, runs, seller
from worker.billing.invoices import Standing
from worker.catalogue import courses
from worker.database import connections
from worker.tenancy import actors, history, organizations

FIRST, LAST = date(2026, 6, 1), date(2026, 8, 31)
BUYER = {
    "street": "Weg 2", "city": "Bonn", "country": "DE", "buyer_reference": "1",
    "electronic_address": "ap@buyer.example",
}  # fmt: skip


def populate(session: Session) -> None:
    """Issue invoices of three months in two currencies, at two rates, and void one; it is 1 September."""
    seller.edit(session, actor=OPERATOR, electronic_address="0088:4012", payment_details="Cash")
    euros = add_buyer(session, "Euros", tax_rate="19", time_zone="Europe/Berlin")
    yen = add_buyer(session, "Yen", tax_rate="10", price="4990", currency="JPY")
    organizations.edit(session, actor=OPERATOR, organization="Euros", **BUYER)
    other = courses.add(
        session, actor=OPERATOR, code="OTHER", title="Other", price="7.03", currency="EUR"
    )
    other_pool = add_pool(session, "Euros", other["code"], "Other")
    for month in (5, 6, 7):
        redeem(session, euros.pool, f"2026-{month:02}-03", f"2026-{month:02}-09")
        redeem(session, other_pool, *[f"2026-{month:02}-1{day}" for day in range(month)])
        redeem(session, yen.pool, f"2026-{month:02}-20")
        for buyer, day in ((euros, 2), (yen, 5)):
            set_clock(session, f"2026-{month + 1:02}-{day:02}T12:00Z")
            runs.bill(
                session, actor=OPERATOR, organization_id=buyer.id, grace=timedelta(), then=void_one
            )
    set_clock(session, "2026-08-20T12:00Z")
    filters = charges.Filters(organization="Euros")
    newest = [
        item["id"] for item in charges.listing(session, actor=OPERATOR, filters=filters).items
    ]
    crediting.credit_now(
        session, actor=OPERATOR, charges_=newest[:2], amount="3.01", reason="Half a course"
    )
    set_clock(session, "2026-09-01T12:00Z")


def void_one(session: Session, finalized: list[int]) -> None:
    """Void the yen of May two days after they were issued."""
    shown = invoices.show(session, actor=OPERATOR, invoice=str(finalized[0]))
    if (shown["currency"], shown["month"]) == ("JPY", "2026-05"):
        set_clock(session, "2026-06-07T12:00Z")
        invoices.void(session, actor=OPERATOR, invoice=shown["id"], reason="Wrong address")


@pytest.fixture
def issued(session):
    populate(session)


def zipped(session, first=FIRST, last=LAST, actor=OPERATOR, **asked) -> zipfile.ZipFile:
    made = handing_over.export(session, actor=actor, from_=str(first), to=str(last), **asked)
    return zipfile.ZipFile(io.BytesIO(b"".join(made.content)))


def listed(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read("invoices.csv").decode())))


def journal(session, first: date, last: date) -> list[dict[str, str]]:
    made = handing_over.export(
        session, actor=OPERATOR, from_=str(first), to=str(last), format="journal"
    )
    return list(csv.DictReader(io.StringIO(b"".join(made.content).decode())))


def sums(lines: list[dict[str, str]]) -> Counter[tuple[str, ...]]:
    """Add up a journal's debits less its credits by currency, role, course and rate."""
    totals: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        key = (line["currency"], line["role"], line["course"], line["tax_percent"])
        totals[key] += Decimal(line["debit"]) - Decimal(line["credit"])  # type: ignore[assignment]
    return Counter({key: total for key, total in totals.items() if total})


def ledger(session) -> Counter[tuple[str, ...]]:
    """Say by itself what the journal should come to: of the invoices that stand."""
    totals: Counter[tuple[str, ...]] = Counter()
    for item in invoices.listing(session, actor=OPERATOR).items:
        if item["status"] not in ("finalized", "paid"):
            continue
        shown: Any = invoices.show(session, actor=OPERATOR, invoice=item["id"])
        totals[shown["currency"], "receivables", "", ""] += Decimal(shown["total"])
        for line in shown["lines"]:
            totals[shown["currency"], "revenue", line["course"], ""] -= Decimal(line["amount"])
        for tax in shown["taxes"]:
            totals[shown["currency"], "tax", "", tax["percent"]] -= Decimal(tax["tax"])
    return Counter({key: total for key, total in totals.items() if total})


def test_a_period_is_a_zip_of_pdfs_and_xmls_with_a_list_of_them(session, issued):
    archive = zipped(session)

    rows = listed(archive)
    assert [row["number"] for row in rows] == [f"2026-00000{n}" for n in range(1, 8)]
    for row in rows:
        assert all(file in archive.namelist() for file in row["files"].split())
        assert archive.read(row["files"].split()[0]).startswith(b"%PDF")
    euros = [row for row in rows if row["organization"] == "Euros"]
    for row in euros:
        xml = archive.read(row["files"].split()[1])
        assert en16931.objections(xml) == []
        assert en16931.figures(xml)["gross"] == abs(Decimal(row["total"]))
    yen = [row for row in rows if row["organization"] == "Yen"]
    assert [len(row["files"].split()) for row in yen] == [1, 1, 1]
    assert all("buyer.country" in row["missing"] for row in yen)
    assert [row["status"] for row in yen] == ["void", "finalized", "finalized"]


def test_both_ends_of_a_period_are_in_it(session, issued):
    days = sorted({row["issued_on"] for row in listed(zipped(session))})

    within = listed(zipped(session, days[1], days[3]))

    assert sorted({row["issued_on"] for row in within}) == days[1:4]


def test_a_period_comes_in_one_format_where_that_is_asked_for(session, issued):
    names = zipped(session, format="ubl").namelist()

    assert {name.rpartition(".ubl")[2] for name in names} == {".xml", "invoices.csv"}


def test_finance_hands_over_its_own_organizations_invoices(session, issued):
    euros = organizations.find(session, actor=OPERATOR, name="Euros").id
    finance = actors.Actor("x", actors.Role.FINANCE, euros)

    rows = listed(zipped(session, actor=finance))

    assert {row["organization"] for row in rows} == {"Euros"}
    with pytest.raises(errors.ForbiddenError):
        handing_over.export(
            session, actor=finance, from_=str(FIRST), to=str(LAST), format="journal"
        )


@pytest.mark.parametrize(
    ("days", "field"), [(("soon", "2026-06-30"), "from"), (("2026-06-30", "2026-06-01"), "to")]
)
def test_what_is_no_period_is_refused(session, days, field):
    with pytest.raises(errors.InvalidInputError) as refusal:
        handing_over.export(session, actor=OPERATOR, from_=days[0], to=days[1])

    assert refusal.value.field == field


def test_a_journal_has_revenue_by_course_and_tax_by_rate_on_their_accounts(session, issued):
    accounts = {
        "receivables": "1400", "revenue": "8400", "revenue:other": "8401", "tax": "1770", "tax:19,": "",
    }  # fmt: skip
    accounts.pop("tax:19,")
    seller.edit(session, actor=OPERATOR, accounts=accounts | {"tax:19": "1776"})

    lines = journal(session, date(2026, 6, 1), date(2026, 6, 3))

    assert [(one["account"], one["course"], one["tax_percent"]) for one in lines] == [
        ("1400", "", ""), ("8400", "C-Euros", ""), ("8401", "OTHER", ""), ("1776", "", "19"),
    ]  # fmt: skip
    assert [(one["debit"], one["credit"]) for one in lines] == [
        ("160.59", "0.00"), ("0.00", "99.80"), ("0.00", "35.15"), ("0.00", "25.64"),
    ]  # fmt: skip
    assert {one["export"] for one in lines} == {"1"}
    assert [one["line"] for one in lines] == ["1", "2", "3", "4"]


def test_an_export_is_numbered_once_and_stays_as_it_was_when_accounts_change(session, issued):
    first = journal(session, date(2026, 6, 1), date(2026, 6, 30))
    other = journal(session, date(2026, 7, 1), date(2026, 7, 31))
    seller.edit(session, actor=OPERATOR, accounts={"receivables": "1400"})

    again = journal(session, date(2026, 6, 1), date(2026, 6, 30))
    later = journal(session, date(2026, 8, 1), date(2026, 8, 31))

    assert again == first
    assert [lines[0]["export"] for lines in (first, other, later)] == ["1", "2", "3"]
    assert (first[0]["account"], later[0]["account"]) == ("receivables", "1400")
    acts = [act["action"] for act in history.of(session, thing="journal", thing_id=1)]
    assert acts == ["journal exported"]


def test_a_journal_of_days_that_are_not_over_is_refused(session, issued):
    with pytest.raises(errors.InvalidInputError, match="2026-09-01 is not over yet"):
        journal(session, FIRST, date(2026, 9, 1))


def test_no_invoice_is_issued_later_on_days_whose_journal_was_exported(session, issued):
    buyer = add_buyer(session, "Late")
    redeem(session, buyer.pool, "2026-08-20")
    journal(session, FIRST, LAST)
    set_clock(session, "2026-08-31T23:59Z")  # as a transaction that began before midnight

    drafted, _ = runs.bill(
        session, actor=OPERATOR, organization_id=buyer.id, month=date(2026, 8, 1)
    )
    late = invoices.finalize(session, actor=OPERATOR, invoice=str(*drafted), anyway=True)

    assert late["issued_on"] == "2026-09-01"


def test_no_invoice_is_issued_in_a_year_whose_journal_was_exported(session, issued):
    buyer = add_buyer(session, "Late")
    redeem(session, buyer.pool, "2026-11-20")
    set_clock(session, "2027-01-01T12:00Z")
    journal(session, FIRST, date(2026, 12, 31))
    set_clock(session, "2026-12-31T23:59Z")  # as a transaction that began before midnight

    _, (late,) = runs.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=timedelta())

    shown = invoices.show(session, actor=OPERATOR, invoice=str(late))
    assert (shown["number"], shown["issued_on"]) == ("2027-000001", "2027-01-01")


def test_no_invoice_is_voided_later_on_days_whose_journal_was_exported(session, issued):
    before = journal(session, FIRST, LAST)
    set_clock(session, "2026-08-31T23:59Z")  # as a transaction that began before midnight
    open_ = invoices.Filters(status=Standing.FINALIZED, organization="Yen")
    first = invoices.listing(session, actor=OPERATOR, filters=open_).items[0]

    void = invoices.void(session, actor=OPERATOR, invoice=first["id"], reason="Wrong address")
    set_clock(session, "2026-09-01T12:00Z")

    assert void["voided_at"] == datetime(2026, 9, 1, tzinfo=UTC)
    assert journal(session, FIRST, LAST) == before


def test_an_account_of_a_course_or_a_rate_that_is_none_is_refused(session):
    for key in ("sales", "receivables:x", "tax:much"):
        with pytest.raises(errors.InvalidInputError) as refusal:
            seller.edit(session, actor=OPERATOR, accounts={key: "1"})
        assert refusal.value.field == "accounts"
    with pytest.raises(errors.NotFoundError):
        seller.edit(session, actor=OPERATOR, accounts={"revenue:nothing": "1"})


def test_an_account_that_is_emptied_is_removed(session):
    seller.edit(session, actor=OPERATOR, accounts={"tax:19.0": "1776", "revenue": "8400"})

    left = seller.edit(session, actor=OPERATOR, accounts={"tax:19": ""})

    assert left["accounts"] == {"revenue": "8400"}


@pytest.fixture(scope="module")
def world(database):
    with connections.session() as session:
        populate(session)


@settings(max_examples=25)
@given(cuts=st.sets(st.dates(FIRST, LAST - timedelta(days=1)), max_size=6))
def test_exports_of_consecutive_periods_add_up_to_the_ledger(world, cuts):
    starts = [FIRST, *(cut + timedelta(days=1) for cut in sorted(cuts))]
    ends = [*sorted(cuts), LAST]

    with connections.session() as session:
        set_clock(session, "2026-09-01T12:00Z")
        exports = [journal(session, *days) for days in zip(starts, ends, strict=True)]
        expected = ledger(session)
        again = [journal(session, *days) for days in zip(starts, ends, strict=True)]
        session.rollback()

    total: Counter[tuple[str, ...]] = Counter()
    for lines in exports:
        balance = sum(Decimal(one["debit"]) - Decimal(one["credit"]) for one in lines)
        assert balance == 0
        for key, amount in sums(lines).items():
            total[key] += amount
    assert {key: amount for key, amount in total.items() if amount} == dict(expected)
    assert again == exports
    numbers = [lines[0]["export"] for lines in exports if lines]
    assert len(set(numbers)) == len(numbers)
