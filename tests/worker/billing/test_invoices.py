"""Invoices from draft to paid or void, and runs that race or die."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.ledger import OPERATOR, Buyer, add_buyer, redeem, set_clock
from worker import days, errors
from worker.billing import charges, gathering, invoices
from worker.database import connections
from worker.tenancy import actors, history, organizations

NO_GRACE = timedelta()


@pytest.fixture
def buyer(session: Session) -> Buyer:
    return add_buyer(session, tax_rate="19", time_zone="Europe/Berlin")


@pytest.fixture
def draft(session: Session, buyer: Buyer) -> str:
    """The id of a draft of May with two charges; it is 20 June."""
    redeem(session, buyer.pool, "2026-05-05", "2026-05-06")
    set_clock(session, "2026-06-20T22:30")
    drafted, _ = invoices.bill(session, actor=OPERATOR, organization_id=buyer.id)
    return str(*drafted)


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


def test_finalizing_numbers_an_invoice_and_sets_when_it_is_due_in_the_buyers_time_zone(final):
    assert (final["status"], final["number"]) == ("finalized", "2026-000001")
    assert final["due_on"] == "2026-07-21"  # it is 21 June in Berlin already, and terms are 30 days


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
    invoices.bill(
        session, actor=OPERATOR, organization_id=buyer.id, month=days.month("2026-10"),
        grace=NO_GRACE,
    )  # fmt: skip
    set_clock(session, "2027-01-01T00:00Z")

    invoices.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=NO_GRACE)

    page = invoices.listing(session, actor=OPERATOR)
    assert [item["number"] for item in page.items] == ["2027-000001", "2026-000001"]


def test_a_number_is_not_cut_after_999999(session, final):
    session.execute(text("UPDATE invoice_serial SET last = 999999"))
    redeem(session, add_buyer(session, "Second").pool, "2026-05-05")
    second = organizations.find(session, actor=OPERATOR, name="Second")

    _, (finalized,) = invoices.bill(
        session, actor=OPERATOR, organization_id=second.id, grace=NO_GRACE
    )

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
        "UPDATE invoice SET status = 'paid', paid_on = '2026-06-30', tax_label = 'Other'",
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


# Paying -------------------------------------------------------------------------------------------


def test_a_finalized_invoice_is_paid_on_a_day(session, final):
    paid = invoices.pay(session, actor=OPERATOR, invoice="2026-000001", on="2026-06-30")

    assert (paid["status"], paid["paid_on"]) == ("paid", "2026-06-30")
    acts = [act["action"] for act in history.of(session, thing="invoice", thing_id=int(paid["id"]))]
    assert acts == ["invoice drafted", "invoice finalized", "invoice paid"]


def test_paying_the_same_day_again_changes_nothing(session, final):
    first = invoices.pay(session, actor=OPERATOR, invoice=final["id"], on="2026-06-30")

    assert invoices.pay(session, actor=OPERATOR, invoice=final["id"], on="2026-06-30") == first


@pytest.mark.parametrize(
    ("on", "sentence"),
    [
        ("2062-06-30", "check the year"),
        ("yesterday", "is not a day"),
        ("2026-06-31", "is not a day"),
    ],
)
def test_a_day_that_cannot_be_meant_is_refused(session, final, on, sentence):
    with pytest.raises(errors.InvalidInputError, match=sentence):
        invoices.pay(session, actor=OPERATOR, invoice=final["id"], on=on)


def test_a_draft_cannot_be_paid(session, draft):
    with pytest.raises(errors.InvoiceStatusError, match=r"\(draft\) cannot be paid"):
        invoices.pay(session, actor=OPERATOR, invoice=draft, on="2026-06-30")


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
    assert charges.listing(session, actor=OPERATOR, unbilled=True).items == []


def test_only_a_person_finalizes_the_draft_that_voiding_made(session, buyer, final):
    void = invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")

    by_run = invoices.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=NO_GRACE)
    by_person = invoices.finalize(session, actor=OPERATOR, invoice=void["draft"])

    assert by_run == ({}, [])
    assert (by_person["status"], by_person["number"]) == ("finalized", "2026-000002")


def test_a_late_charge_goes_on_the_draft_that_voiding_made(session, buyer, final):
    void = invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")
    redeem(session, buyer.pool, "2026-05-30")

    invoices.bill(session, actor=OPERATOR, organization_id=buyer.id)

    assert show(session, void["draft"])["lines"][0]["quantity"] == 3


def test_late_charges_of_a_void_invoice_stay_on_its_month(session, buyer, final):
    redeem(session, buyer.pool, "2026-05-30")
    set_clock(session, "2026-07-20")
    _, (june,) = invoices.bill(session, actor=OPERATOR, organization_id=buyer.id, grace=NO_GRACE)

    void = invoices.void(session, actor=OPERATOR, invoice=str(june), reason="wrong address")

    again = show(session, void["draft"])
    assert again["month"] == "2026-06"
    assert [line["service_month"] for line in again["lines"]] == ["2026-05"]


def test_a_paid_invoice_is_credited_and_never_voided(session, final):
    invoices.pay(session, actor=OPERATOR, invoice=final["id"], on="2026-06-30")

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
        lambda: invoices.pay(session, actor=somebody, invoice=draft, on="2026-06-30"),
        lambda: invoices.void(session, actor=somebody, invoice=draft, reason="x"),
        lambda: invoices.run(actor=somebody),
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
    invoices.bill(session, actor=OPERATOR, organization_id=second.id)

    def found(**wanted: str) -> list[str]:
        page = invoices.listing(session, actor=OPERATOR, **wanted)
        return [item["organization"] for item in page.items]

    assert found() == ["Second", "Academy"]
    assert found(organization="Academy") == ["Academy"]
    assert found(month="2026-04") == ["Second"]
    assert found(status="finalized") == ["Academy"]
    with pytest.raises(errors.InvalidInputError, match="one of draft, finalized, paid, void"):
        found(status="open")


@pytest.fixture
def branch(session: Session, buyer: Buyer) -> int:
    """The id of an organization below the buyer."""
    child = organizations.add(session, actor=OPERATOR, name="Branch", parent=buyer.name)
    return int(child["id"])


def test_lines_are_traced_to_whose_learners_they_were_for(session, buyer, branch, draft):
    redeem(session, buyer.pool, "2026-05-07", learner_organization=branch)
    invoices.bill(session, actor=OPERATOR, organization_id=buyer.id)

    shown = show(session, draft)

    (line,) = shown["lines"]
    assert line["learner_organizations"] == [
        {"organization": "Academy", "quantity": 2, "amount": "99.80"},
        {"organization": "Branch", "quantity": 1, "amount": "49.90"},
    ]
    carried = charges.listing(session, actor=OPERATOR, line=line["id"]).items
    assert [c["learner_organization"] for c in carried] == ["Branch", "Academy", "Academy"]
    assert {c["invoice"] for c in carried} == {shown["id"]}


def test_shares_follow_their_lines_to_the_draft_that_voiding_makes(session, buyer, branch, draft):
    redeem(session, buyer.pool, "2026-05-07", learner_organization=branch)
    final = invoices.finalize(session, actor=OPERATOR, invoice=draft)
    void = invoices.void(session, actor=OPERATOR, invoice=final["id"], reason="wrong address")
    redeem(session, buyer.pool, "2026-05-08", learner_organization=branch)
    invoices.bill(session, actor=OPERATOR, organization_id=buyer.id)

    anew = show(session, void["draft"])

    assert anew["learner_organizations"] == [
        {"organization": "Academy", "amount": "99.80"},
        {"organization": "Branch", "amount": "99.80"},
    ]
    assert void["learner_organizations"] == final["learner_organizations"]


def test_an_invoice_is_shown_without_a_look_at_its_charges(session, final):
    read = text("""
        SELECT sum(seq_scan + idx_scan) FROM pg_stat_xact_user_tables
         WHERE relname IN ('charge', 'invoice_charge')""")
    before = session.scalar(read)

    show(session, final["id"])

    assert session.scalar(read) == before


# Runs, on a database that really commits ----------------------------------------------------------


@pytest.fixture
def july(fresh_database) -> Iterator[None]:
    """It is 10 July 2026 for every transaction of this process."""

    def set_to_july(connection: Any) -> None:
        connection.exec_driver_sql(
            "SELECT set_config('keypool.clock_offset', "
            "extract(epoch FROM timestamptz '2026-07-10T12:00Z' - now())::text, true)"
        )

    engine = connections.engine()
    event.listen(engine, "begin", set_to_july)
    yield
    event.remove(engine, "begin", set_to_july)


def populate(buyers: int, redemptions: int = 3) -> list[int]:
    """Make buyers with redemptions in April and in May; gives their ids."""

    def populated(session: Session) -> list[int]:
        ids = []
        for number in range(buyers):
            buyer = add_buyer(session, f"Academy {number}", time_zone="Pacific/Auckland")
            for month in ("04", "05"):
                times = [f"2026-{month}-{day + 2:02d}" for day in range(redemptions)]
                redeem(session, buyer.pool, *times)
            ids.append(buyer.id)
        return ids

    return connections.transaction(populated)


def figures(query: str) -> Any:
    return connections.transaction(lambda session: session.execute(text(query)).one())


LEDGER = """
    SELECT (SELECT count(*) FROM invoice), (SELECT count(*) FROM invoice WHERE status <> 'draft'),
           (SELECT count(*) FROM invoice_charge), (SELECT count(*) FROM charge WHERE unbilled),
           (SELECT sum(quantity) FROM invoice_line), (SELECT max(serial) FROM invoice)
"""


@pytest.mark.usefixtures("july")
def test_a_run_bills_every_organization_and_says_what_it_did():
    ids = populate(3)

    done = invoices.run(actor=OPERATOR)

    assert (done.organizations, done.charges, len(done.drafted)) == (3, 18, 6)
    assert (done.finalized, done.failed) == ([], [])
    assert len(ids) == 3
    assert tuple(figures(LEDGER)) == (6, 0, 18, 0, 18, None)


@pytest.mark.usefixtures("july")
def test_the_scheduled_run_finalizes_what_is_past_its_grace():
    populate(2)

    first = invoices.run_scheduled(actor=OPERATOR)
    again = invoices.run_scheduled(actor=OPERATOR)

    assert first == {"charges": 12, "drafted": 4, "finalized": 4, "failed": 0}
    assert not any(again.values())
    assert tuple(figures(LEDGER)) == (4, 4, 12, 0, 12, 4)


@pytest.mark.usefixtures("july")
def test_a_run_leaves_the_rest_to_the_next_when_its_time_is_over():
    populate(2)

    first = invoices.run_scheduled(actor=OPERATOR, until=0)
    second = invoices.run_scheduled(actor=OPERATOR)

    assert (first["charges"], second["charges"]) == (0, 12)


@pytest.mark.usefixtures("july")
def test_runs_at_once_double_nothing_and_leave_no_gap_in_the_numbers():
    populate(12)

    with ThreadPoolExecutor(4) as racers:
        runs = list(racers.map(lambda _: invoices.run(actor=OPERATOR, finalize=True), range(4)))

    assert sum(run.charges for run in runs) == 72
    assert sum(len(run.finalized) for run in runs) == 24
    assert tuple(figures(LEDGER)) == (24, 24, 72, 0, 72, 24)


@pytest.mark.usefixtures("july")
def test_one_organizations_trouble_keeps_no_others_invoice_back(monkeypatch):
    ids = populate(3)
    gather = gathering.gather

    def troubled(session: Session, buyer: Any, **options: Any) -> dict[int, int]:
        if buyer.id == ids[1]:
            raise ValueError("trouble")
        return gather(session, buyer, **options)

    monkeypatch.setattr(gathering, "gather", troubled)
    done = invoices.run(actor=OPERATOR, finalize=True)
    monkeypatch.undo()
    healed = invoices.run(actor=OPERATOR, finalize=True)

    assert (done.failed, done.organizations) == ([ids[1]], 2)
    assert (healed.failed, healed.charges) == ([], 6)
    assert tuple(figures(LEDGER)) == (6, 6, 18, 0, 18, 6)


@pytest.mark.usefixtures("july")
def test_a_month_that_has_not_begun_anywhere_is_refused():
    with pytest.raises(errors.InvalidInputError, match="2026-08 has not begun yet"):
        invoices.run(actor=OPERATOR, month="2026-08")


@pytest.mark.usefixtures("july")
def test_a_draft_of_the_running_month_is_never_finalized_by_a_run():
    populate(1)
    connections.transaction(lambda session: redeem(session, 1, "2026-07-05"))

    done = invoices.run(actor=OPERATOR, month="2026-07", finalize=True)

    assert (done.charges, done.finalized) == (1, [])


# Dies with SIGKILL before its Nth commit: between organizations, or with one half done.
DYING = """
import os, signal, sys
from sqlalchemy import event
from worker.billing import invoices
from worker.database import connections
from worker.tenancy.actors import Actor

engine, commits = connections.engine(), [0]

@event.listens_for(engine, "begin")
def july(connection):
    connection.exec_driver_sql(
        "SELECT set_config('keypool.clock_offset', "
        "extract(epoch FROM timestamptz '2026-07-10T12:00Z' - now())::text, true)")

@event.listens_for(engine, "commit")
def die(connection):
    commits[0] += 1
    if commits[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)

invoices.run(actor=Actor.operator("dying"), finalize=True)
"""


@pytest.mark.usefixtures("july")
@pytest.mark.parametrize("commit", [2, 4])
def test_a_run_that_was_killed_is_made_good_by_the_next(fresh_database, commit):
    populate(4)
    environment = os.environ | fresh_database.environment()

    died = subprocess.run([sys.executable, "-c", DYING, str(commit)], env=environment, check=False)
    left = figures(LEDGER)
    made_good = invoices.run(actor=OPERATOR, finalize=True)

    assert died.returncode == -9
    assert left[2] == 6 * (commit - 2)  # the organizations before it, whole
    assert made_good.charges == 24 - left[2]
    assert tuple(figures(LEDGER)) == (8, 8, 24, 0, 24, 8)


@pytest.mark.usefixtures("july")
def test_what_is_settled_while_a_run_bills_is_on_an_invoice_or_waits():
    (buyer,) = populate(1, redemptions=20)
    connections.transaction(lambda session: redeem(session, 1, "2026-05-09"))

    with ThreadPoolExecutor(2) as both:
        settling = both.submit(
            lambda: [
                connections.transaction(lambda session: redeem(session, 1, "2026-05-10"))
                for _ in range(20)
            ]
        )
        billing_run = both.submit(lambda: [invoices.run(actor=OPERATOR) for _ in range(10)])
        settling.result()
        billing_run.result()
    invoices.run(actor=OPERATOR)

    row = figures("""
        SELECT (SELECT sum(quantity) FROM invoice_line), (SELECT count(*) FROM invoice_charge),
               (SELECT sum(subtotal) FROM invoice), (SELECT sum(amount) FROM charge)""")
    assert (row[0], row[1]) == (61, 61)
    assert row[2] == row[3]
    assert buyer
