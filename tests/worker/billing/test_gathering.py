"""The billing run: months, drafts, late charges."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.ledger import (
    BACKDATE,
    NO_GRACE,
    OPERATOR,
    Buyer,
    add_buyer,
    add_pool,
    bill,
    redeem,
    set_clock,
    set_tax_rate,
)
from worker import days, errors
from worker.billing import gathering, invoices, numbering, seller
from worker.catalogue import courses, prices
from worker.tenancy import organizations


def months_of(session: Session, buyer: Buyer) -> dict[str, tuple[str, int]]:
    """Give each invoice's month with its status and how many charges it carries."""
    rows = session.execute(
        text("""SELECT to_char(month, 'YYYY-MM'), status::text,
                       (SELECT count(*) FROM invoice_charge WHERE invoice_id = invoice.id)
                  FROM invoice WHERE organization_id = :id ORDER BY month, id"""),
        {"id": buyer.id},
    )
    return {month: (status, carried) for month, status, carried in rows}


def lines_of(session: Session, invoice_id: int) -> list[tuple[str, str, int, str]]:
    shown = invoices.show(session, actor=OPERATOR, invoice=str(invoice_id))
    return [
        (line["kind"], line["service_month"], line["quantity"], line["amount"])
        for line in shown["lines"]
    ]


@pytest.mark.parametrize(
    ("zone", "last_of_may", "first_of_june"),
    [
        ("UTC", "2026-05-31T23:59:59.999999", "2026-06-01T00:00"),
        ("Pacific/Auckland", "2026-05-31T11:59:59", "2026-05-31T12:00"),
        ("America/New_York", "2026-06-01T03:59:59", "2026-06-01T04:00"),
        ("Asia/Kathmandu", "2026-05-31T18:14:59", "2026-05-31T18:15"),
        ("Pacific/Kiritimati", "2026-05-31T09:59:59", "2026-05-31T10:00"),
    ],
)
def test_a_month_is_a_calendar_month_in_the_organizations_time_zone(
    session, zone, last_of_may, first_of_june
):
    buyer = add_buyer(session, time_zone=zone)
    redeem(session, buyer.pool, last_of_may, first_of_june)
    set_clock(session, "2026-07-15")

    bill(session, buyer)

    assert months_of(session, buyer) == {"2026-05": ("draft", 1), "2026-06": ("draft", 1)}


@pytest.mark.parametrize(
    ("zone", "at", "month"),
    [
        # Clocks go back in the midst of a month, and forward.
        ("America/New_York", "2026-11-01T03:59:59", "2026-10"),
        ("America/New_York", "2026-11-01T04:00:00", "2026-11"),
        ("America/New_York", "2026-12-01T04:59:59", "2026-11"),
        ("America/New_York", "2026-12-01T05:00:00", "2026-12"),
        ("Europe/Berlin", "2026-03-31T21:59:59", "2026-03"),
        ("Europe/Berlin", "2026-03-31T22:00:00", "2026-04"),
        ("Pacific/Auckland", "2026-09-30T10:59:59", "2026-09"),
        ("Pacific/Auckland", "2026-09-30T11:00:00", "2026-10"),
        # In Havana the month's first hour comes twice: the first of them begins it.
        ("America/Havana", "2026-11-01T03:59:59", "2026-10"),
        ("America/Havana", "2026-11-01T04:30:00", "2026-11"),
        ("America/Havana", "2026-11-01T05:30:00", "2026-11"),
    ],
)
def test_a_clock_change_moves_no_charge_to_another_month(session, zone, at, month):
    buyer = add_buyer(session, time_zone=zone)
    redeem(session, buyer.pool, at)
    set_clock(session, "2027-02-15")

    bill(session, buyer)

    assert list(months_of(session, buyer)) == [month]


def test_every_closed_month_that_was_missed_is_caught_up_oldest_first(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-03-05", "2026-01-05", "2026-05-05", "2026-06-05")
    set_clock(session, "2026-06-20")

    _, finalized = bill(session, buyer, grace=NO_GRACE)

    numbered = [invoices.show(session, actor=OPERATOR, invoice=str(i)) for i in finalized]
    assert [(n["number"], n["month"]) for n in numbered] == [
        ("2026-000001", "2026-01"),
        ("2026-000002", "2026-03"),
        ("2026-000003", "2026-05"),
    ]


def test_a_run_again_changes_nothing(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-20")
    bill(session, buyer, grace=NO_GRACE)

    again = bill(session, buyer, grace=NO_GRACE)

    assert again == ({}, [])


def test_the_running_month_waits_unless_it_is_asked_for(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-06-05")
    set_clock(session, "2026-06-20")

    left_alone = bill(session, buyer, grace=NO_GRACE)
    drafted, finalized = bill(session, buyer, month=date(2026, 6, 1), grace=NO_GRACE)

    assert left_alone == ({}, [])
    assert (list(drafted.values()), finalized) == ([1], [])


def test_a_draft_still_gathers(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-02")
    first, _ = bill(session, buyer)
    redeem(session, buyer.pool, "2026-05-31")

    second, _ = bill(session, buyer)

    assert first.keys() == second.keys()
    assert lines_of(session, *first) == [("redemption", "2026-05", 2, "99.80")]


def test_a_month_that_is_named_is_billed_alone(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-03-05", "2026-04-05", "2026-05-05")
    set_clock(session, "2026-06-20")

    bill(session, buyer, month=date(2026, 4, 1))

    assert months_of(session, buyer) == {"2026-04": ("draft", 1)}


def test_a_charge_of_a_finalized_month_goes_on_the_next_open_months_invoice(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-04-05", "2026-05-05", "2026-06-05")
    set_clock(session, "2026-06-20")
    bill(session, buyer, grace=NO_GRACE)
    redeem(session, buyer.pool, "2026-04-30")

    not_yet = bill(session, buyer)
    set_clock(session, "2026-07-02")
    drafted, _ = bill(session, buyer)

    assert not_yet == ({}, [])
    assert lines_of(session, *drafted) == [
        ("redemption", "2026-04", 1, "49.90"),
        ("redemption", "2026-06", 1, "49.90"),
    ]


def test_a_late_charge_goes_on_its_own_months_draft_while_that_is_open(session):
    buyer = add_buyer(session)
    redeem(session, buyer.pool, "2026-04-05", "2026-05-05")
    set_clock(session, "2026-06-20")
    bill(session, buyer)
    bill(session, buyer, month=date(2026, 5, 1), grace=NO_GRACE)
    redeem(session, buyer.pool, "2026-04-30")

    bill(session, buyer)

    assert months_of(session, buyer) == {"2026-04": ("draft", 2), "2026-05": ("finalized", 1)}


@pytest.mark.parametrize(
    ("now", "status"),
    [("2026-06-03T21:59", "draft"), ("2026-06-03T22:00", "finalized")],
)
def test_a_draft_is_finalized_once_its_grace_is_over(session, now, status):
    buyer = add_buyer(session, time_zone="Europe/Berlin")
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, now)

    bill(session, buyer, grace=timedelta(days=3))

    assert months_of(session, buyer) == {"2026-05": (status, 1)}


def test_each_currency_has_an_invoice_of_its_own(session):
    buyer = add_buyer(session, price="49.90", currency="EUR")
    dollars = add_buyer(session, "Dollars", price="10.00", currency="USD")
    redeem(session, buyer.pool, "2026-05-05")
    redeem(session, add_pool(session, buyer.name, dollars.course, "Second"), "2026-05-06")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    shown = [invoices.show(session, actor=OPERATOR, invoice=str(i)) for i in drafted]
    assert [(s["currency"], s["total"]) for s in shown] == [("EUR", "49.90"), ("USD", "10.00")]


def test_lines_are_apart_by_course_pool_kind_month_and_unit_price(session):
    buyer = add_buyer(session)
    second = add_pool(session, buyer.name, buyer.course, "Second")
    redeem(session, buyer.pool, "2026-05-01", "2026-05-02")
    redeem(session, second, "2026-05-03")
    set_clock(session, "2026-05-04")
    prices.set_price(
        session, actor=OPERATOR, course=buyer.course, price="40", from_="2026-05-10T00:00Z"
    )
    redeem(session, buyer.pool, "2026-05-11")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    shown = invoices.show(session, actor=OPERATOR, invoice=str(*drafted))
    assert [
        (line["pool_name"], line["kind"], line["unit_price"], line["quantity"], line["amount"])
        for line in shown["lines"]
    ] == [
        ("Pool", "redemption", "49.90", 2, "99.80"),
        ("Pool", "redemption", "40.00", 1, "40.00"),
        ("Second", "redemption", "49.90", 1, "49.90"),
    ]
    assert shown["subtotal"] == "189.70"


def test_a_price_of_zero_is_a_price(session):
    buyer = add_buyer(session, price="0")
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    assert lines_of(session, *drafted) == [("redemption", "2026-05", 1, "0.00")]


@pytest.mark.parametrize(
    ("price", "currency", "rate", "tax"),
    [
        ("0.50", "EUR", "1", "0.01"),  # 0.005: half goes up
        ("0.49", "EUR", "1", "0.00"),
        ("49.90", "EUR", "19", "9.48"),
        ("1050", "JPY", "10", "105"),
        ("5", "JPY", "10", "1"),  # 0.5
        ("12.345", "KWD", "15", "1.852"),  # 1.85175
        ("0.10", "EUR", "2.5", "0.00"),
        ("9999999999.99", "EUR", "19.123", "1912300000.00"),
    ],
)
def test_tax_is_rounded_half_up_to_the_minor_unit_once(session, price, currency, rate, tax):
    buyer = add_buyer(session, price=price, currency=currency, tax_rate=rate)
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    shown = invoices.show(session, actor=OPERATOR, invoice=str(*drafted))
    assert shown["tax"] == tax
    assert Decimal(shown["total"]) == Decimal(shown["subtotal"]) + Decimal(tax)


def test_each_charge_is_taxed_at_the_rate_of_its_day(session):
    buyer = add_buyer(session, price="100", time_zone="Europe/Berlin")
    set_tax_rate(session, buyer, "19", "2026-12-01T00:00+01:00")
    set_tax_rate(session, buyer, "21", "2026-12-10T00:00+01:00")
    redeem(
        session,
        buyer.pool,
        "2026-11-30T12:00Z",
        "2026-12-03",
        "2026-12-09T22:59Z",
        "2026-12-09T23:00Z",
    )
    set_clock(session, "2027-01-20")

    drafted, _ = bill(session, buyer)

    november, december = (
        invoices.show(session, actor=OPERATOR, invoice=str(one)) for one in drafted
    )
    assert november["taxes"] == [
        {
            "label": "Tax",
            "percent": "0",
            "category": "Z",
            "exemption": None,
            "subtotal": "100.00",
            "tax": "0.00",
        }
    ]
    assert [(t["label"], t["percent"], t["subtotal"], t["tax"]) for t in december["taxes"]] == [
        ("VAT", "21", "100.00", "21.00"),
        ("VAT", "19", "200.00", "38.00"),
    ]
    assert (december["subtotal"], december["tax"], december["total"]) == (
        "300.00",
        "59.00",
        "359.00",
    )
    assert [(one["quantity"], one["tax_percent"]) for one in december["lines"]] == [
        (1, "21"),
        (2, "19"),
    ]


def test_tax_is_rounded_once_a_rate(session):
    buyer = add_buyer(session, price="0.10")
    set_tax_rate(session, buyer, "4", "2026-05-01T00:00Z")
    set_tax_rate(session, buyer, "5", "2026-05-10T00:00Z")
    redeem(session, buyer.pool, "2026-05-05", "2026-05-06", "2026-05-15")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    shown = invoices.show(session, actor=OPERATOR, invoice=str(*drafted))
    assert [tax["tax"] for tax in shown["taxes"]] == ["0.01", "0.01"]  # 0.005 and 0.008
    assert (shown["tax"], shown["total"]) == ("0.02", "0.32")


def test_a_draft_is_taxed_alike_in_lists_and_documents_after_a_rate_changes(session):
    buyer = add_buyer(session, tax_rate="19")
    redeem(session, buyer.pool, "2026-05-05")
    set_clock(session, "2026-06-20")
    drafted, _ = bill(session, buyer)
    organizations.edit(session, actor=OPERATOR, organization=buyer.name, tax_rate="7")

    listed = invoices.listing(session, actor=OPERATOR).items[0]
    shown = invoices.show(session, actor=OPERATOR, invoice=str(*drafted))
    numbering.number(session, list(drafted))
    final = invoices.show(session, actor=OPERATOR, invoice=str(*drafted))

    assert listed["taxes"] == shown["taxes"] == final["taxes"]
    assert listed["total"] == shown["total"] == final["total"] == "59.38"


def test_a_seller_may_make_no_invoices_of_nothing(session):
    free = add_buyer(session, "Free", price="0")
    redeem(session, free.pool, "2026-05-05", "2026-05-06")
    seller.edit(session, actor=OPERATOR, zero_invoices="skip")
    set_clock(session, "2026-06-20")

    drafted, final = bill(session, free, grace=NO_GRACE)

    assert (drafted, final) == ({}, [])
    assert session.scalars(text("SELECT unbilled FROM charge")).all() == [False, False]
    assert gathering.due(session, month=None, finalize=True) == []


def test_a_charge_of_nothing_beside_others_stays_on_their_invoice(session):
    buyer = add_buyer(session, price="0")
    paid = courses.add(
        session, actor=OPERATOR, code="C-paid", title="Paid", price="10", currency="EUR"
    )
    session.execute(BACKDATE, {"course": int(paid["id"])})
    redeem(session, buyer.pool, "2026-05-05")
    redeem(session, add_pool(session, buyer.name, "C-paid", "Paid"), "2026-05-06")
    seller.edit(session, actor=OPERATOR, zero_invoices="skip")
    set_clock(session, "2026-06-20")

    drafted, _ = bill(session, buyer)

    assert list(drafted.values()) == [2]


def test_due_leaves_out_who_has_nothing_to_bill(session):
    closed = add_buyer(session, "Closed")
    running = add_buyer(session, "Running")
    add_buyer(session, "Idle")
    redeem(session, closed.pool, "2026-05-05")
    redeem(session, running.pool, "2026-06-05")
    set_clock(session, "2026-06-20")

    assert gathering.due(session, month=None, finalize=True) == [closed.id]
    assert gathering.due(session, month=date(2026, 6, 1), finalize=True) == [closed.id, running.id]


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-00", "26-01", "2026-1", "May", "", "0000-01", "٢٠٢٦-٠١"]
)
def test_what_is_no_month_is_refused(month):
    with pytest.raises(errors.InvalidInputError, match="is not a month"):
        days.month(month)
