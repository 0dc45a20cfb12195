"""Invoices from draft to paid or void."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, Buyer, add_buyer, redeem, set_clock
from worker import days, errors
from worker.billing import charges, invoices, payments, runs, seller
from worker.billing.invoices import Standing
from worker.tables.labels import InvoiceStatus
from worker.tenancy import actors, organizations

NO_GRACE = timedelta()


@pytest.fixture
def final(session: Session, draft: str) -> dict[str, Any]:
    return invoices.finalize(session, actor=OPERATOR, invoice=draft)


def show(session: Session, invoice: str) -> dict[str, Any]:
    return invoices.show(session, actor=OPERATOR, invoice=invoice)


# Finalizing ---------------------------------------------------------------------------------------


def test_a_draft_has_no_number_and_no_due_date(session, draft):
    shown = show(session, draft)

    assert (shown["status"], shown["number"], shown["due_on"]) == ("draft", None, None)
    assert (shown["subtotal"], shown["tax"], shown["total"]) == ("99.80", "18.96", "118.76")


def test_finalizing_numbers_an_invoice_and_sets_its_days_in_the_sellers_time_zone(session, draft):
    seller.edit(session, actor=OPERATOR, time_zone="Asia/Tokyo")

    final = invoices.finalize(session, actor=OPERATOR, invoice=draft)

    assert (final["status"], final["number"]) == ("finalized", "2026-000001")
    # It is 21 June in Tokyo already, and terms are 30 days.
    assert (final["issued_on"], final["due_on"]) == ("2026-06-21", "2026-07-21")


def test_the_day_of_issue_decides_the_numbers_year(session, draft):
    seller.edit(session, actor=OPERATOR, time_zone="Pacific/Auckland")
    set_clock(session, "2026-12-31T12:00")

    final = invoices.finalize(session, actor=OPERATOR, invoice=draft)

    assert (final["number"], final["issued_on"]) == ("2027-000001", "2027-01-01")


def test_no_number_has_an_earlier_day_than_the_one_before_it(session, buyer, final):
    redeem(session, buyer.pool, "2026-06-05")
    set_clock(session, "2026-06-19T12:00")  # as a transaction that began earlier and numbers later

    drafted, _ = runs.bill(
        session, actor=OPERATOR, organization_id=buyer.id, month=days.month("2026-06")
    )
    later = invoices.finalize(session, actor=OPERATOR, invoice=str(*drafted), anyway=True)

    assert (later["number"], later["issued_on"]) == ("2026-000002", final["issued_on"])


def test_what_nothing_is_owed_for_is_paid_as_it_is_issued(session):
    free = add_buyer(session, name="Free", price="0.00")
    redeem(session, free.pool, "2026-05-05")
    set_clock(session, "2026-06-20T12:00")

    drafted, _ = runs.bill(session, actor=OPERATOR, organization_id=free.id)
    final = invoices.finalize(session, actor=OPERATOR, invoice=str(*drafted))

    assert (final["status"], final["paid_on"], final["open"]) == ("paid", "2026-06-20", "0.00")


def test_finalizing_takes_what_turned_up_since_the_run(session, buyer, draft):
    redeem(session, buyer.pool, "2026-05-31")

    final = invoices.finalize(session, actor=OPERATOR, invoice=draft)

    assert final["lines"][0]["quantity"] == 3
    assert final["subtotal"] == "149.70"


def test_an_invoice_is_finalized_once(session, final):
    with pytest.raises(errors.InvoiceStatusError, match=r"2026-000001 \(finalized\) is no draft"):
        invoices.finalize(session, actor=OPERATOR, invoice=final["id"])


def test_seller_buyer_and_titles_are_copied_when_an_invoice_is_finalized(session, buyer, final):
    before = show(session, final["id"])

    organizations.edit(
        session, actor=OPERATOR, organization=buyer.name, address="Elsewhere", locale="fr"
    )
    session.execute(text("UPDATE seller SET name = 'Somebody else'"))
    session.execute(text("UPDATE course SET title = 'Another title'"))
    session.execute(text("UPDATE pool SET name = 'Another name'"))

    after = show(session, final["id"])
    assert after == before
    assert (after["seller"]["name"], after["buyer"]["locale"]) == ("keypool operator", "en")


def test_a_draft_shows_seller_and_buyer_as_they_stand(session, buyer, draft):
    organizations.edit(session, actor=OPERATOR, organization=buyer.name, legal_name="Academy Ltd")

    assert show(session, draft)["buyer"]["name"] == "Academy Ltd"


def test_numbers_begin_anew_with_the_operators_year(session, buyer):
    redeem(session, buyer.pool, "2026-10-05", "2026-11-05")
    set_clock(session, "2026-12-31T23:30Z")
    runs.bill(
        session, actor=OPERATOR, organization_id=buyer.id, month=days.month("2026-10"),
        grace=NO_GRACE,
    )  # fmt: skip
    set_clock(session, "2027-01-01T00:00Z")

    runs.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=NO_GRACE)

    page = invoices.listing(session, actor=OPERATOR)
    assert [item["number"] for item in page.items] == ["2027-000001", "2026-000001"]


def test_a_number_is_not_cut_after_999999(session, final):
    session.execute(text("UPDATE invoice_serial SET last = 999999"))
    redeem(session, add_buyer(session, "Second").pool, "2026-05-05")
    second = organizations.find(session, actor=OPERATOR, name="Second")

    _, (finalized,) = runs.bill(session, actor=OPERATOR, organization_id=second.id, grace=NO_GRACE)

    assert show(session, str(finalized))["number"] == "2026-1000000"


def test_a_finalization_that_dies_gives_its_number_back(session, draft):
    death = session.begin_nested()
    invoices.finalize(session, actor=OPERATOR, invoice=draft)
    death.rollback()

    final = invoices.finalize(session, actor=OPERATOR, invoice=draft)

    assert final["number"] == "2026-000001"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE invoice SET subtotal = subtotal + 1, total = total + 1",
        "UPDATE invoice SET due_on = due_on + 1",
        "UPDATE invoice SET number = DEFAULT, serial = 7",
        "UPDATE invoice SET buyer = '{}'",
        "UPDATE invoice SET status = 'draft', serial = NULL, year = NULL, finalized_at = NULL, due_on = NULL",
        "UPDATE invoice SET status = 'paid', paid_on = '2026-06-30', currency = 'USD'",
        "DELETE FROM invoice",
        "UPDATE invoice_line SET quantity = quantity + 1, amount = amount + unit_price",
        "UPDATE invoice_line SET pool_name = 'Other'",
        "DELETE FROM invoice_line",
        "UPDATE invoice_share SET quantity = quantity + 1",
        "DELETE FROM invoice_share",
        "UPDATE invoice_charge SET released_at = clock_now()",
        "DELETE FROM invoice_charge",
        """INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month, unit_price,
                                     quantity, amount)
           SELECT invoice_id, course_id, pool_id, kind, service_month, 1, 1, 1 FROM invoice_line""",
        "UPDATE charge SET amount = 0",
        "UPDATE charge SET occurred_at = clock_now()",
        "UPDATE charge SET unbilled = true",
        "DELETE FROM charge",
    ],
)
def test_a_finalized_invoice_never_changes(session, final, change):
    with pytest.raises((IntegrityError, errors.InvoiceStatusError)), session.begin_nested():
        session.execute(text(change))

    assert show(session, final["id"]) == final


def test_a_finalized_invoice_takes_no_charge(session, buyer, final):
    redeem(session, buyer.pool, "2026-05-07")

    with pytest.raises(IntegrityError, match="gathers unbilled"), session.begin_nested():
        session.execute(
            text("""INSERT INTO invoice_charge (invoice_id, charge_id, line_id)
                    SELECT invoice_line.invoice_id, charge.id, invoice_line.id
                      FROM invoice_line, charge WHERE unbilled""")
        )


def test_a_draft_takes_no_charge_of_another_organization(session, draft):
    stranger = add_buyer(session, "Stranger")
    (foreign,) = redeem(session, stranger.pool, "2026-05-07")

    with pytest.raises(IntegrityError, match="gathers unbilled"), session.begin_nested():
        session.execute(
            text("""INSERT INTO invoice_charge (invoice_id, charge_id, line_id)
                    SELECT invoice_id, :charge, id FROM invoice_line WHERE invoice_id = :draft"""),
            {"charge": foreign, "draft": int(draft)},
        )


# Voiding ------------------------------------------------------------------------------------------


def test_a_void_invoice_keeps_its_number_and_detail(session, final):
    void = invoices.void(session, actor=OPERATOR, invoice="2026-000001", reason="wrong address")

    kept = ("number", "lines", "total", "learner_organizations", "due_on")
    assert {field: void[field] for field in kept} == {field: final[field] for field in kept}
    assert (void["status"], void["void_reason"]) == ("void", "wrong address")


def test_a_void_invoices_charges_go_to_a_draft_of_the_same_month(session, final):
    void = invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")

    draft = show(session, void["draft"])
    assert (draft["status"], draft["month"], draft["by_hand"]) == ("draft", "2026-05", True)
    assert draft["total"] == final["total"]
    unbilled = charges.Filters(unbilled=True)
    assert charges.listing(session, actor=OPERATOR, filters=unbilled).items == []


def test_only_a_person_finalizes_the_draft_that_voiding_made(session, buyer, final):
    void = invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")

    by_run = runs.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=NO_GRACE)
    by_person = invoices.finalize(session, actor=OPERATOR, invoice=void["draft"])

    assert by_run == ({}, [])
    assert (by_person["status"], by_person["number"]) == ("finalized", "2026-000002")


def test_a_draft_that_voiding_made_takes_no_new_charges_and_its_month_goes_on_being_billed(
    session, buyer, final
):
    void = invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")
    redeem(session, buyer.pool, "2026-05-30")

    drafted, late = runs.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=NO_GRACE)
    by_hand = invoices.finalize(session, actor=OPERATOR, invoice=void["draft"], anyway=True)

    assert list(drafted) == late
    assert [
        (show(session, str(one))["month"], show(session, str(one))["subtotal"]) for one in late
    ] == [("2026-05", "49.90")]
    assert (by_hand["by_hand"], by_hand["subtotal"]) == (True, "99.80")


def test_late_charges_of_a_void_invoice_stay_on_its_month(session, buyer, final):
    redeem(session, buyer.pool, "2026-05-30")
    set_clock(session, "2026-07-20")
    _, (june,) = runs.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=NO_GRACE)

    void = invoices.void(session, actor=OPERATOR, invoice=str(june), reason="wrong address")

    again = show(session, void["draft"])
    assert again["month"] == "2026-06"
    assert [line["service_month"] for line in again["lines"]] == ["2026-05"]


def test_a_paid_invoice_is_credited_and_never_voided(session, final):
    payments.pay(session, actor=OPERATOR, invoice=final["id"], on="2026-06-20")

    with pytest.raises(errors.InvoiceStatusError, match="credit its charges instead"):
        invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")


@pytest.mark.parametrize("status", ["draft", "void"])
def test_only_a_finalized_invoice_can_be_voided(session, draft, status):
    invoice = draft
    if status == "void":
        invoices.finalize(session, actor=OPERATOR, invoice=draft)
        invoices.void(session, actor=OPERATOR, invoice=draft, reason="wrong address")

    with pytest.raises(errors.InvoiceStatusError, match=rf"\({status}\) cannot be voided"):
        invoices.void(session, actor=OPERATOR, invoice=invoice, reason="again")


def test_voiding_needs_a_reason(session, final):
    with pytest.raises(errors.InvalidInputError, match="reason"):
        invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="  ")


# Who sees and does what ---------------------------------------------------------------------------


@pytest.mark.parametrize("role", [role for role in actors.Role if role != actors.Role.OPERATOR])
def test_the_operator_alone_finalizes_pays_voids_and_runs(session, buyer, draft, role):
    somebody = actors.Actor("somebody", role, buyer.id)

    for act in (
        lambda: invoices.finalize(session, actor=somebody, invoice=draft),
        lambda: payments.pay(session, actor=somebody, invoice=draft, on="2026-06-30"),
        lambda: invoices.void(session, actor=somebody, invoice=draft, reason="x"),
        lambda: runs.run(actor=somebody),
        lambda: charges.credit(session, actor=somebody, charge="1", reason="x"),
    ):
        with pytest.raises(errors.ForbiddenError):
            act()


@pytest.mark.parametrize(
    ("role", "reads"), [("finance", True), ("analyst", True), ("manager", False), ("sender", False)]
)
def test_finance_and_analysts_read_invoices(session, buyer, draft, role, reads):
    somebody = actors.Actor("somebody", actors.Role(role), buyer.id)

    if reads:
        assert invoices.show(session, actor=somebody, invoice=draft)["id"] == draft
    else:
        with pytest.raises(errors.ForbiddenError):
            invoices.show(session, actor=somebody, invoice=draft)


def test_a_foreign_invoice_reads_as_unknown(session, final):
    stranger = actors.Actor("x", actors.Role.FINANCE, add_buyer(session, "Stranger").id)

    for name in (final["id"], final["number"], "999999"):
        with pytest.raises(errors.NotFoundError, match="There is no invoice"):
            invoices.show(session, actor=stranger, invoice=name)
    assert invoices.listing(session, actor=stranger).items == []


def test_an_invoice_is_listed_by_organization_month_and_status(session, buyer, final):
    redeem(session, add_buyer(session, "Second").pool, "2026-04-05")
    second = organizations.find(session, actor=OPERATOR, name="Second")
    runs.bill(session, actor=OPERATOR, organization_id=second.id)

    def found(**wanted: Any) -> list[str]:
        page = invoices.listing(session, actor=OPERATOR, filters=invoices.Filters(**wanted))
        return [item["organization"] for item in page.items]

    assert found() == ["Second", "Academy"]
    assert found(organization="Academy") == ["Academy"]
    assert found(month="2026-04") == ["Second"]
    assert found(status=Standing.FINALIZED) == ["Academy"]
    with pytest.raises(errors.InvalidInputError, match="not a month; write 2026-05"):
        found(month="May")


def test_an_invoice_stands_as_its_status_says_or_is_overdue():
    assert [*Standing] == [*InvoiceStatus, "overdue"]


@pytest.fixture
def branch(session: Session, buyer: Buyer) -> int:
    """The id of an organization below the buyer."""
    child = organizations.add(session, actor=OPERATOR, name="Branch", parent=buyer.name)
    return int(child["id"])


def test_lines_are_traced_to_whose_learners_they_were_for(session, buyer, branch, draft):
    redeem(session, buyer.pool, "2026-05-07", learner_organization=branch)
    runs.bill(session, actor=OPERATOR, organization_id=buyer.id)

    shown = show(session, draft)

    (line,) = shown["lines"]
    assert line["learner_organizations"] == [
        {"organization": "Academy", "quantity": 2, "amount": "99.80"},
        {"organization": "Branch", "quantity": 1, "amount": "49.90"},
    ]
    of_line = charges.Filters(line=int(line["id"]))
    carried = charges.listing(session, actor=OPERATOR, filters=of_line).items
    assert [c["learner_organization"] for c in carried] == ["Branch", "Academy", "Academy"]
    assert {c["invoice"] for c in carried} == {shown["id"]}


def test_shares_follow_their_lines_to_the_draft_that_voiding_makes(session, buyer, branch, draft):
    redeem(session, buyer.pool, "2026-05-07", learner_organization=branch)
    final = invoices.finalize(session, actor=OPERATOR, invoice=draft)
    void = invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")
    redeem(session, buyer.pool, "2026-05-08", learner_organization=branch)
    runs.bill(session, actor=OPERATOR, organization_id=buyer.id)

    anew = show(session, void["draft"])

    assert anew["learner_organizations"] == [
        {"organization": "Academy", "amount": "99.80"},
        {"organization": "Branch", "amount": "49.90"},
    ]
    assert void["learner_organizations"] == final["learner_organizations"]


def test_an_invoice_is_shown_without_a_look_at_its_charges(session, final):
    read = text("""
        SELECT sum(seq_scan + idx_scan) FROM pg_stat_xact_user_tables
         WHERE relname IN ('charge', 'invoice_charge')""")
    before = session.scalar(read)

    show(session, final["id"])

    assert session.scalar(read) == before
