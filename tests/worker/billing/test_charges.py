from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.ledger import BACKDATE, OPERATOR, Buyer, add_buyer, add_pool, redeem, set_clock
from worker import errors
from worker.billing import charges, confirming, crediting, invoices, payments, runs
from worker.catalogue import courses
from worker.database import connections
from worker.pools import tallies
from worker.tables.billing import Charge
from worker.tables.labels import ChargeKind
from worker.tables.learning import Assignment
from worker.tenancy import actors, history, organizations


@pytest.fixture
def buyer(session: Session) -> Buyer:
    return add_buyer(session, tax_rate="19")


@pytest.fixture
def charge(session: Session, buyer: Buyer) -> str:
    """The id of a charge of 49.90 EUR in May; it is 20 May 2026."""
    set_clock(session, "2026-05-20T12:00Z")
    return str(*redeem(session, buyer.pool, "2026-05-05"))


def credit(session: Session, charge: str, amount: str | None = None) -> dict:
    return charges.credit(
        session, actor=OPERATOR, charge=charge, amount=amount, reason="did not work"
    )


def test_a_charge_is_shown_with_whom_it_was_for(session, buyer, charge):
    shown = charges.show(session, actor=OPERATOR, charge=charge)

    assert shown["learner"].endswith("@example.com")
    assert len(shown["key"]) == 36
    del shown["learner"], shown["key"], shown["assignment"]
    assert shown == {
        "id": charge,
        "kind": "redemption",
        "organization": "Academy",
        "learner_organization": "Academy",
        "course": "C-Academy",
        "pool": str(buyer.pool),
        "pool_name": "Pool",
        "amount": "49.90",
        "currency": "EUR",
        "tax_label": "Tax",
        "tax_percent": "19",
        "occurred_at": datetime(2026, 5, 5, tzinfo=UTC),
        "invoice": None,
        "invoice_number": None,
        "credits": None,
        "reason": None,
    }


def test_a_credit_gives_back_the_whole_charge_and_names_it(session, charge):
    given = credit(session, charge)

    assert (given["kind"], given["amount"], given["credits"]) == ("credit", "-49.90", charge)
    assert given["occurred_at"] == datetime(2026, 5, 20, 12, tzinfo=UTC)
    assert given["reason"] == "did not work"
    (act,) = history.of(session, thing="charge", thing_id=int(charge))
    assert (act["action"], act["detail"]["amount"]) == ("charge credited", "49.90")


def test_a_charge_is_credited_in_parts_up_to_itself(session, charge):
    credit(session, charge, "20")
    credit(session, charge, "9.90")

    rest = credit(session, charge)

    assert rest["amount"] == "-20.00"


@pytest.mark.parametrize(
    ("before", "amount", "sentence"),
    [
        ([], "49.91", "Only 49.90 EUR is left"),
        (["40"], "9.91", "Only 9.90 EUR is left"),
        (["49.90"], None, "Nothing is left"),
        (["49.90"], "1", "Nothing is left"),
    ],
)
def test_credits_of_a_charge_never_exceed_it(session, charge, before, amount, sentence):
    for part in before:
        credit(session, charge, part)

    with pytest.raises(errors.CreditExceedsChargeError, match=sentence):
        credit(session, charge, amount)


def test_a_credit_cannot_be_credited(session, charge):
    given = credit(session, charge, "5")

    with pytest.raises(errors.CreditExceedsChargeError, match="credit the charge that it names"):
        credit(session, given["id"])


@pytest.mark.parametrize("amount", ["0", "-1", "1.001", "much", "NaN"])
def test_what_is_no_amount_to_credit_is_refused(session, charge, amount):
    with pytest.raises(errors.InvalidInputError) as refusal:
        credit(session, charge, amount)

    assert refusal.value.field == "amount"


def test_a_credit_needs_a_reason(session, charge):
    with pytest.raises(errors.InvalidInputError, match="reason"):
        charges.credit(session, actor=OPERATOR, charge=charge, reason=" ")


def test_a_credit_leaves_key_and_assignment_alone(session, charge):
    credit(session, charge)

    states = session.execute(
        text("SELECT key.state::text, assignment.status::text FROM key, assignment")
    )
    assert states.one() == ("redeemed", "active")


def test_credits_at_once_stay_within_their_charge(fresh_database):
    charge = connections.transaction(
        lambda session: str(*redeem(session, add_buyer(session).pool, "2026-05-05"))
    )

    def attempt(_: int) -> bool:
        try:
            connections.transaction(credit, charge, "10")
        except errors.CreditExceedsChargeError:
            return False
        return True

    with ThreadPoolExecutor(8) as racers:
        granted = sum(racers.map(attempt, range(16)))

    left = connections.transaction(lambda s: s.scalar(text("SELECT sum(amount) FROM charge")))
    assert (granted, str(left)) == (4, "9.9000")


def billed(session: Session, buyer: Buyer, at: str) -> list[dict]:
    """Bill and finalize at a time; gives what became final."""
    set_clock(session, at)
    _, final = runs.bill(
        session, actor=OPERATOR, organization_id=buyer.id, grace=datetime.resolution * 0
    )
    return [invoices.show(session, actor=OPERATOR, invoice=str(one)) for one in final]


def test_a_credit_goes_on_a_credit_note_beside_the_invoice_and_names_what_it_credits(
    session, buyer, charge
):
    (may,) = billed(session, buyer, "2026-06-20")
    redeem(session, buyer.pool, "2026-06-05")
    given = credit(session, charge, "9.90")

    june, note = billed(session, buyer, "2026-07-20")

    assert (june["kind"], june["month"], june["subtotal"]) == ("invoice", "2026-06", "49.90")
    assert (note["kind"], note["title"], note["month"]) == ("credit_note", "Credit note", "2026-06")
    assert (note["number"], note["subtotal"], note["tax"], note["total"]) == (
        "2026-000003", "-9.90", "-1.88", "-11.78",
    )  # fmt: skip
    (line,) = note["lines"]
    assert line["credits"] == {
        "invoice": may["number"],
        "issued_on": may["issued_on"],
        "line": may["lines"][0]["id"],
        "reason": "did not work",
    }
    assert june["lines"][0]["credits"] is None
    assert charges.show(session, actor=OPERATOR, charge=given["id"])["invoice"] == note["id"]


def test_credits_for_several_reasons_are_several_lines(session, buyer, charge):
    billed(session, buyer, "2026-06-20")
    credit(session, charge, "5")
    charges.credit(session, actor=OPERATOR, charge=charge, amount="5", reason="late")

    (note,) = billed(session, buyer, "2026-07-20")

    assert {line["credits"]["reason"]: line["amount"] for line in note["lines"]} == {
        "did not work": "-5.00",
        "late": "-5.00",
    }


def test_a_credit_has_the_rate_of_its_charge_whatever_the_rate_is_now(session, buyer, charge):
    billed(session, buyer, "2026-06-20")
    organizations.edit(session, actor=OPERATOR, organization=buyer.name, tax_rate="25")
    set_clock(session, "2027-01-05")
    credit(session, charge)

    (note,) = billed(session, buyer, "2027-02-10")

    assert [(tax["percent"], tax["tax"]) for tax in note["taxes"]] == [("19", "-9.48")]
    assert note["total"] == "-59.38"


def test_a_charge_that_was_credited_whole_before_the_run_stands_on_no_document(
    session, buyer, charge
):
    credit(session, charge, "20")
    credit(session, charge)

    assert billed(session, buyer, "2026-06-20") == []
    assert charges.show(session, actor=OPERATOR, charge=charge)["invoice"] is None
    assert (
        charges.listing(session, actor=OPERATOR, filters=charges.Filters(unbilled=True)).items == []
    )


def test_a_charge_that_was_credited_in_part_before_the_run_is_invoiced_whole(
    session, buyer, charge
):
    credit(session, charge, "20")

    invoice, note = billed(session, buyer, "2026-06-20")

    assert (invoice["subtotal"], note["subtotal"]) == ("49.90", "-20.00")
    assert note["lines"][0]["credits"]["invoice"] == invoice["number"]
    open_now = invoices.show(session, actor=OPERATOR, invoice=invoice["id"])["open"]
    assert (open_now, note["open"]) == ("35.58", "0.00")  # 59.38 less 23.80


def test_a_credit_waits_while_its_charge_is_on_a_draft(session, buyer, charge):
    set_clock(session, "2026-06-20")
    runs.bill(session, actor=OPERATOR, organization_id=buyer.id)
    set_clock(session, "2026-06-21")
    given = credit(session, charge)
    set_clock(session, "2026-07-20")
    runs.bill(session, actor=OPERATOR, organization_id=buyer.id)

    assert charges.show(session, actor=OPERATOR, charge=given["id"])["invoice"] is None

    invoice, note = billed(session, buyer, "2026-07-21")
    assert (invoice["total"], note["total"]) == ("59.38", "-59.38")


def test_the_credits_of_a_wholly_credited_invoice_come_to_its_total(session):
    buyer = add_buyer(session, price="68.33", tax_rate="20")
    ids = redeem(session, buyer.pool, "2026-05-05", "2026-05-06")
    for price in ("57.50", "85.00"):
        ids += redeem(session, add_buyer_pool(session, buyer, price), "2026-05-07")
    (invoice,) = billed(session, buyer, "2026-06-20")

    notes = [
        crediting.credit_now(
            session, actor=OPERATOR, charges_=[str(i) for i in part], reason="gone", anyway=True
        )
        for part in (ids[:3], ids[3:])
    ]

    assert invoice["total"] == "334.99"
    assert sum(Decimal(note["total"]) for note in notes) == Decimal("-334.99")
    shown = invoices.show(session, actor=OPERATOR, invoice=invoice["id"])
    assert (shown["open"], shown["status"]) == ("0.00", "paid")


def test_credits_one_by_one_give_back_no_more_tax_than_the_invoice_has(session):
    buyer = add_buyer(session, price="0.03", tax_rate="20")
    ids = redeem(session, buyer.pool, *["2026-05-05"] * 9)
    (invoice,) = billed(session, buyer, "2026-06-20")

    notes = [
        crediting.credit_now(
            session, actor=OPERATOR, charges_=[str(id_)], reason="gone", anyway=True
        )
        for id_ in ids
    ]

    assert (invoice["tax"], invoice["total"]) == ("0.05", "0.32")  # 0.054; of each by itself 0.006
    assert [note["tax"] for note in notes] == ["-0.01"] * 5 + ["0.00"] * 4
    assert {note["open"] for note in notes} == {"0.00"}
    shown = invoices.show(session, actor=OPERATOR, invoice=invoice["id"])
    assert (shown["open"], shown["status"]) == ("0.00", "paid")


def add_buyer_pool(session: Session, buyer: Buyer, price: str) -> int:
    """Add a pool of another course at a price."""
    made = courses.add(
        session, actor=OPERATOR, code=f"C-{price}", title="Another", price=price, currency="EUR"
    )
    session.execute(BACKDATE, {"course": int(made["id"])})
    return add_pool(session, buyer.name, f"C-{price}", f"Pool {price}")


def test_a_credit_note_lowers_what_is_open_on_its_invoice(session, buyer, charge):
    (invoice,) = billed(session, buyer, "2026-06-20")

    note = crediting.credit_now(
        session, actor=OPERATOR, charges_=[charge], amount="9.90", reason="late", anyway=True
    )

    shown = invoices.show(session, actor=OPERATOR, invoice=invoice["id"])
    assert (note["number"], note["status"], note["open"]) == ("2026-000002", "paid", "0.00")
    assert (shown["status"], shown["open"]) == ("finalized", "47.60")  # 59.38 less 11.78


def test_what_a_credit_note_has_over_stands_to_the_organizations_credit_until_it_is_paid_out(
    session, buyer, charge
):
    (invoice,) = billed(session, buyer, "2026-06-20")
    paid = payments.pay(session, actor=OPERATOR, invoice=invoice["id"], on="2026-06-20")

    note = crediting.credit_now(
        session, actor=OPERATOR, charges_=[charge], reason="gone", anyway=True
    )
    assert (note["status"], note["open"], note["overdue"]) == ("finalized", "-59.38", False)

    refunded = payments.pay(session, actor=OPERATOR, invoice=note["id"], on="2026-06-20")
    assert (refunded["status"], refunded["open"]) == ("paid", "0.00")
    assert refunded["payments"][0]["amount"] == "-59.38"
    with pytest.raises(errors.InvoiceStatusError, match="paid out because of this payment"):
        payments.take_back(
            session, actor=OPERATOR, payment=paid["payments"][0]["id"], reason="another's"
        )


def test_the_same_payout_under_the_same_reference_is_the_same_payment(session, buyer, charge):
    (invoice,) = billed(session, buyer, "2026-06-20")
    payments.pay(session, actor=OPERATOR, invoice=invoice["id"], on="2026-06-20")
    note = crediting.credit_now(session, actor=OPERATOR, charges_=[charge], reason="late")
    part = {"on": "2026-06-20", "amount": "10", "reference": "R 1"}

    for _ in range(2):
        shown = payments.pay(session, actor=OPERATOR, invoice=note["id"], **part)

    assert [payment["amount"] for payment in shown["payments"]] == ["-10.00"]
    assert (note["open"], shown["open"]) == ("-59.38", "-49.38")


def test_at_once_is_refused_while_a_charge_is_on_no_finalized_invoice(session, buyer, charge):
    with pytest.raises(errors.InvoiceStatusError, match="on no finalized invoice yet"):
        crediting.credit_now(session, actor=OPERATOR, charges_=[charge], reason="gone", anyway=True)


def test_at_once_asks_before_a_seller_that_lacks_something_finalizes(session, buyer, charge):
    billed(session, buyer, "2026-06-20")
    session.execute(text("UPDATE seller SET name = ''"))

    with pytest.raises(confirming.NotConfirmedError, match="no name"):
        crediting.credit_now(session, actor=OPERATOR, charges_=[charge], reason="gone")


def test_at_once_is_refused_for_several_organizations(session, buyer, charge):
    other = add_buyer(session, "Other")
    (second,) = redeem(session, other.pool, "2026-05-05")

    with pytest.raises(errors.InvalidInputError, match="one organization and currency"):
        crediting.credit_now(
            session, actor=OPERATOR, charges_=[charge, str(second)], reason="gone", anyway=True
        )


def test_an_invoice_with_a_credit_note_is_not_voided_and_neither_is_the_note(
    session, buyer, charge
):
    (invoice,) = billed(session, buyer, "2026-06-20")
    note = crediting.credit_now(
        session, actor=OPERATOR, charges_=[charge], amount="1", reason="late", anyway=True
    )

    for which, why in ((invoice, "has a credit note"), (note, "A credit note cannot be voided")):
        with pytest.raises(errors.InvoiceStatusError, match=why):
            invoices.void(session, actor=OPERATOR, invoice=which["id"], reason="wrong address")


def extended(session: Session, charge: str, price: str, **currency: str) -> Charge:
    assignment_id = session.get_one(Charge, int(charge)).assignment_id
    return charges.charge_extension(
        session,
        actor=OPERATOR,
        assignment=session.get_one(Assignment, assignment_id),
        price=price,
        **currency,
    )


def test_an_extension_is_charged_to_the_pools_owner_in_the_redemptions_currency(session, charge):
    made = extended(session, charge, "15")

    shown = charges.show(session, actor=OPERATOR, charge=str(made.id))
    assert (shown["kind"], shown["amount"], shown["currency"]) == ("extension", "15.00", "EUR")
    assert (shown["organization"], shown["occurred_at"].day) == ("Academy", 20)


@pytest.mark.parametrize("price", ["-1", "1.001", "x"])
def test_what_is_no_price_of_an_extension_is_refused(session, charge, price):
    with pytest.raises(errors.InvalidInputError):
        extended(session, charge, price)


def test_giving_back_leaves_nothing_to_give_back_again(session, charge):
    found = session.get_one(Assignment, session.get_one(Charge, int(charge)).assignment_id)

    first = charges.give_back(session, assignment=found, reason="cancelled within 24 hours")
    second = charges.give_back(session, assignment=found, reason="cancelled within 24 hours")

    assert first is not None
    assert second is None


def test_a_free_redemption_gives_nothing_back(session):
    free = add_buyer(session, "Free", price="0")
    (charge,) = redeem(session, free.pool, "2026-05-05")

    found = session.get_one(Assignment, session.get_one(Charge, charge).assignment_id)
    assert charges.give_back(session, assignment=found, reason="x") is None


def test_charges_are_listed_newest_first_by_what_they_belong_to(session, buyer, charge):
    other = add_buyer(session, "Other")
    (foreign,) = redeem(session, other.pool, "2026-05-06")
    given = credit(session, charge)
    assignment = charges.show(session, actor=OPERATOR, charge=charge)["assignment"]

    def found(**wanted: Any) -> list[str]:
        filters = charges.Filters(**wanted)
        return [i["id"] for i in charges.listing(session, actor=OPERATOR, filters=filters).items]

    assert found() == [given["id"], str(foreign), charge]
    assert found(organization="Other") == [str(foreign)]
    assert found(pool=str(other.pool)) == [str(foreign)]
    assert found(assignment=int(assignment)) == [given["id"], charge]
    assert found(unbilled=False) == []
    assert found(kind=ChargeKind.CREDIT) == [given["id"]]
    assert (found(currency="eur"), found(currency="USD")) == (found(), [])


def test_a_list_goes_on_page_by_page(session, buyer):
    made = redeem(session, buyer.pool, *(f"2026-05-0{day}" for day in range(1, 6)))

    first = charges.listing(session, actor=OPERATOR, limit=3)
    second = charges.listing(session, actor=OPERATOR, limit=3, after=first.next)

    assert [int(i["id"]) for i in first.items + second.items] == sorted(made, reverse=True)
    assert second.next is None


def test_a_foreign_charge_reads_as_unknown(session, charge):
    stranger = actors.Actor("x", actors.Role.FINANCE, add_buyer(session, "Stranger").id)

    with pytest.raises(errors.NotFoundError):
        charges.show(session, actor=stranger, charge=charge)
    assert charges.listing(session, actor=stranger).items == []


def test_a_manager_reads_no_charges(session, buyer, charge):
    manager = actors.Actor("x", actors.Role.MANAGER, buyer.id)

    with pytest.raises(errors.ForbiddenError):
        charges.listing(session, actor=manager)


def test_a_pool_tells_what_it_was_charged_this_month_and_what_is_unbilled(session):
    buyer = add_buyer(session, time_zone="Pacific/Auckland")
    manager = actors.Actor("x", actors.Role.MANAGER, buyer.id)
    redeem(session, buyer.pool, "2026-05-31T11:59:59", "2026-05-31T12:00", "2026-06-05")
    set_clock(session, "2026-06-20")

    before = charges.of_pool(session, actor=manager, pool=str(buyer.pool))
    runs.bill(
        session, actor=OPERATOR, organization_id=buyer.id, month=datetime(2026, 6, 1).date()  # noqa: DTZ001
    )  # fmt: skip
    redeem(session, buyer.pool, "2026-06-06")
    after = charges.of_pool(session, actor=manager, pool=str(buyer.pool))

    assert before == {
        "pool": str(buyer.pool),
        "month": "2026-06",
        "currencies": [
            {
                "currency": "EUR",
                "quantity": 2,
                "amount": "99.80",
                "unbilled_quantity": 2,
                "unbilled_amount": "99.80",
                "draft_amount": "0.00",
            }
        ],
    }
    (euro,) = after["currencies"]
    assert (euro["amount"], euro["unbilled_amount"]) == ("149.70", "49.90")
    assert (euro["quantity"], euro["unbilled_quantity"]) == (3, 1)


def test_what_a_void_invoice_releases_is_on_the_draft_that_takes_it_and_not_unbilled(
    session, buyer
):
    redeem(session, buyer.pool, "2026-06-05", "2026-06-06")
    set_clock(session, "2026-06-20")
    month = datetime(2026, 6, 1).date()  # noqa: DTZ001
    [draft], _ = runs.bill(session, actor=OPERATOR, organization_id=buyer.id, month=month)
    invoices.finalize(session, actor=OPERATOR, invoice=str(draft), anyway=True)
    invoices.void(session, actor=OPERATOR, invoice=str(draft), reason="wrong address")

    [euro] = charges.of_pool(session, actor=OPERATOR, pool=str(buyer.pool))["currencies"]
    tallied = session.execute(
        text(
            "SELECT count(*) FROM pool_charged WHERE pool_id = :pool AND unbilled_quantity > 0"
            " AND quantity = 0"
        ),
        {"pool": buyer.pool},
    ).scalar_one()

    assert (euro["quantity"], euro["unbilled_quantity"], euro["unbilled_amount"]) == (2, 0, "0.00")
    assert euro["draft_amount"] == euro["amount"]
    assert tallied, "nothing was released"


def test_what_a_pool_was_charged_is_folded_and_stays_the_same(session, buyer):
    for moment in ("2026-06-05T10:01", "2026-06-05T10:02", "2026-06-05T10:16"):
        redeem(session, buyer.pool, moment)
    set_clock(session, "2026-06-06")
    before = charges.of_pool(session, actor=OPERATOR, pool=str(buyer.pool))

    folded = [tallies.fold(session) for _ in range(2)]
    rows = session.scalars(
        text("SELECT quantity FROM pool_charged WHERE pool_id = :pool").bindparams(pool=buyer.pool)
    )

    assert folded[0] > folded[1] == 0
    assert sorted(rows) == [1, 2]
    assert charges.of_pool(session, actor=OPERATOR, pool=str(buyer.pool)) == before


def test_a_pool_that_was_charged_nothing_says_so(session, buyer):
    assert charges.of_pool(session, actor=OPERATOR, pool=str(buyer.pool))["currencies"] == []


def test_a_charge_names_its_learners_organization(session, buyer):
    child = organizations.add(session, actor=OPERATOR, name="Branch", parent=buyer.name)
    (charge,) = redeem(session, buyer.pool, "2026-05-07", learner_organization=int(child["id"]))

    shown = charges.show(session, actor=OPERATOR, charge=str(charge))

    assert (shown["organization"], shown["learner_organization"]) == ("Academy", "Branch")
