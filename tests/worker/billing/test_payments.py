"""Money received for invoices: in parts, on days of the seller's, taken back with a reason (B5a)."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, set_clock
from worker import errors
from worker.billing import crediting, invoices, payments, runs, seller
from worker.outgoing import deliveries, endpoints
from worker.tenancy import history


@pytest.fixture
def final(session: Session, draft: str) -> dict[str, Any]:
    """An invoice of 118.76 EUR, issued on 20 June and due on 20 July; it is 30 June."""
    made = invoices.finalize(session, actor=OPERATOR, invoice=draft)
    set_clock(session, "2026-06-30T22:30")
    return made


def pay(session: Session, on: str = "2026-06-30", **given: str) -> dict[str, Any]:
    return payments.pay(session, actor=OPERATOR, invoice="2026-000001", on=on, **given)


def take_back(session: Session, payment: str, reason: str = "Another's") -> dict[str, Any]:
    return payments.take_back(session, actor=OPERATOR, payment=payment, reason=reason)


def listed(session: Session, status: str) -> list[str | None]:
    filters = invoices.Filters(status=invoices.Standing(status))
    page = invoices.listing(session, actor=OPERATOR, filters=filters)
    return [item["number"] for item in page.items]


def test_all_that_is_open_is_paid_where_no_amount_is_given(session, final):
    paid = pay(session)

    assert (paid["status"], paid["paid_on"], paid["open"]) == ("paid", "2026-06-30", "0.00")
    [payment] = paid["payments"]
    assert (payment["on"], payment["amount"]) == ("2026-06-30", "118.76")
    acts = [act["action"] for act in history.of(session, thing="invoice", thing_id=int(paid["id"]))]
    assert acts == ["invoice drafted", "invoice finalized", "invoice paid"]


def test_parts_add_up_until_nothing_is_open(session, final):
    first = pay(session, "2026-06-21", amount="100.00", reference="A")
    last = pay(session, "2026-06-30", amount="18.76", reference="B")

    assert (first["status"], first["open"], first["paid_on"]) == ("finalized", "18.76", None)
    assert (last["status"], last["open"], last["paid_on"]) == ("paid", "0.00", "2026-06-30")
    assert [one["reference"] for one in last["payments"]] == ["A", "B"]


def test_the_rest_is_paid_where_a_part_was_and_no_amount_is_given(session, final):
    pay(session, amount="100.00")

    assert pay(session)["payments"][-1]["amount"] == "18.76"


def test_paying_the_same_day_again_changes_nothing(session, final):
    first = pay(session)

    assert pay(session) == first


def test_the_same_part_under_the_same_reference_is_the_same_payment(session, final):
    first = pay(session, amount="50.00", reference="Bank 7")

    assert pay(session, amount="50.00", reference=" Bank 7 ") == first


def test_two_equal_parts_without_a_reference_are_two(session, final):
    pay(session, amount="50.00")

    assert pay(session, amount="50.00")["open"] == "18.76"


@pytest.mark.parametrize(
    ("given", "field", "sentence"),
    [
        ({"on": "2026-06-19"}, "on", "2026-06-19 is before the invoice was issued, on 2026-06-20"),
        ({"on": "2027-06-30"}, "on", "2027-06-30 is yet to come; today is 2026-06-30"),
        ({"on": "yesterday"}, "on", "is not a day"),
        ({"on": "2026-06-31"}, "on", "is not a day"),
        ({"amount": "118.77"}, "amount", "118.77 is more than the 118.76 EUR that is open"),
        ({"amount": "0"}, "amount", "more than nothing"),
        ({"amount": "-5"}, "amount", "is not an amount"),
        ({"amount": "1.001"}, "amount", "at most 2 decimals"),
        ({"reference": "x" * 201}, "reference", "up to 200 characters"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field(session, final, given, field, sentence):
    with pytest.raises(errors.InvalidInputError, match=sentence) as refused:
        pay(session, **given)

    assert refused.value.field == field


def test_today_is_the_sellers_day(session, final):
    seller.edit(session, actor=OPERATOR, time_zone="Asia/Tokyo")  # it is 1 July there

    assert pay(session, "2026-07-01")["paid_on"] == "2026-07-01"


@pytest.mark.parametrize("status", ["draft", "void"])
def test_only_an_issued_invoice_is_paid(session, draft, status):
    if status == "void":
        invoices.finalize(session, actor=OPERATOR, invoice=draft)
        invoices.void(session, actor=OPERATOR, invoice=draft, reason="wrong address")

    with pytest.raises(errors.InvoiceStatusError, match=rf"\({status}\) cannot be paid"):
        payments.pay(session, actor=OPERATOR, invoice=draft, on="2026-06-20")


def test_another_payment_of_a_paid_invoice_is_refused(session, final):
    pay(session, "2026-06-29")

    with pytest.raises(errors.InvoiceStatusError, match=r"\(paid\) cannot be paid"):
        pay(session, "2026-06-30")


def test_a_payment_that_is_taken_back_is_open_again(session, final):
    [payment] = pay(session)["payments"]

    shown = take_back(session, payment["id"])

    assert (shown["status"], shown["open"], shown["paid_on"]) == ("finalized", "118.76", None)
    assert shown["payments"] == []
    *_, act = history.of(session, thing="invoice", thing_id=int(shown["id"]))
    assert (act["action"], act["detail"]["reason"]) == ("payment taken back", "Another's")


def test_a_part_that_is_taken_back_leaves_the_others(session, final):
    pay(session, amount="100.00", reference="A")
    second = pay(session, amount="18.76", reference="B")["payments"][1]

    shown = take_back(session, second["id"])

    assert (shown["status"], shown["open"]) == ("finalized", "18.76")


def test_a_payment_is_taken_back_once(session, final):
    [payment] = pay(session)["payments"]
    take_back(session, payment["id"])

    with pytest.raises(errors.NotFoundError, match="taken back already"):
        take_back(session, payment["id"])


def test_taking_back_needs_a_reason(session, final):
    [payment] = pay(session)["payments"]

    with pytest.raises(errors.InvalidInputError, match="reason") as refused:
        take_back(session, payment["id"], reason=" ")

    assert refused.value.field == "reason"


def test_an_invoice_with_a_payment_is_not_voided(session, final):
    pay(session, amount="1.00")

    with pytest.raises(errors.InvoiceStatusError, match="has a payment"):
        invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")


def test_an_invoice_is_overdue_once_its_day_is_over_for_the_seller(session, final):
    set_clock(session, "2026-07-20T23:59")
    on_its_day = listed(session, "overdue")

    set_clock(session, "2026-07-21T00:01")

    assert (on_its_day, listed(session, "overdue")) == ([], ["2026-000001"])
    assert invoices.show(session, actor=OPERATOR, invoice=final["id"])["overdue"] is True
    assert listed(session, "finalized") == ["2026-000001"]


def test_a_paid_invoice_is_never_overdue(session, final):
    pay(session)
    set_clock(session, "2027-01-01T12:00")

    assert listed(session, "overdue") == []


def test_the_database_lets_no_payment_exceed_its_invoice(session, final):
    pay(session, amount="100.00")
    more = text(
        "INSERT INTO payment (invoice_id, paid_on, amount) VALUES (:id, '2026-06-30', 18.77)"
    )

    with pytest.raises(IntegrityError, match="payments cannot exceed"), session.begin_nested():
        session.execute(more, {"id": int(final["id"])})


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE payment SET amount = 1",
        "UPDATE payment SET paid_on = '2026-06-21'",
        "DELETE FROM payment",
    ],
)
def test_the_database_lets_no_payment_be_rewritten(session, final, change):
    pay(session)

    with pytest.raises(IntegrityError, match="never rewritten"), session.begin_nested():
        session.execute(text(change))


def test_whoever_listens_is_told_of_payments_their_taking_back_and_voids(session, buyer, final):
    types = ["invoice.paid", "invoice.payment_taken_back", "invoice.voided"]
    endpoints.add(
        session,
        actor=OPERATOR,
        url="https://hooks.example/in",
        organization=buyer.name,
        types=types,
    )
    [payment] = pay(session)["payments"]
    take_back(session, payment["id"])
    invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")

    told = deliveries.listing(session, actor=OPERATOR).items

    assert [one["type"] for one in reversed(told)] == types
    rows = session.execute(text("SELECT data->>'open' FROM delivery ORDER BY id")).scalars().all()
    assert rows == ["0.00", "118.76", "0.00"]


def test_whoever_listens_is_told_once_that_an_invoice_is_overdue(session, buyer, final):
    endpoints.add(
        session,
        actor=OPERATOR,
        url="https://hooks.example/in",
        organization=buyer.name,
        types=["invoice.overdue"],
    )
    set_clock(session, f"{final['due_on']}T23:00Z")
    on_its_day = runs.tell_overdue(session)
    set_clock(session, "2026-08-01T12:00Z")

    told = [runs.tell_overdue(session), runs.tell_overdue(session)]

    assert (on_its_day, told) == (0, [1, 0])
    (delivery,) = deliveries.listing(session, actor=OPERATOR).items
    assert delivery["type"] == "invoice.overdue"


def test_whoever_listens_is_told_of_credit_notes(session, buyer, final):
    endpoints.add(
        session,
        actor=OPERATOR,
        url="https://hooks.example/in",
        organization=buyer.name,
        types=["credit_note.finalized", "invoice.finalized", "invoice.paid"],
    )
    charge = session.scalar(text("SELECT min(id) FROM charge"))

    crediting.credit_now(
        session, actor=OPERATOR, charges_=[str(charge)], reason="gone", anyway=True
    )

    (delivery,) = deliveries.listing(session, actor=OPERATOR).items
    assert delivery["type"] == "credit_note.finalized"
