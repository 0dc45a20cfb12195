"""Migration 0023: credits that the first release put on invoices."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests import upgrading
from tests.ledger import OPERATOR, set_clock
from tests.worker.database.conftest import run
from worker import errors
from worker.billing import invoices, runs, statements
from worker.billing.invoices import Standing
from worker.database import migrating

# An invoice of two charges less a credit, one of a credit alone, and drafts of June and July with the like.
WORLD = """
INSERT INTO organization (id, name) OVERRIDING SYSTEM VALUE VALUES (9001, 'Old buyer');
INSERT INTO tax_rate (organization_id, label, percent, valid_from) VALUES (9001, 'VAT', 20, '2026-01-01');
INSERT INTO pool (id, organization_id, course_id, name, starts_at, expires_at, content_availability_days)
OVERRIDING SYSTEM VALUE
SELECT 9001, 9001, min(id), 'Old pool', '2026-01-01', '2027-01-01', 90 FROM course WHERE archived_at IS NULL;
INSERT INTO charge (id, kind, organization_id, learner_organization_id, course_id, pool_id, assignment_id,
                    credits_id, amount, currency, occurred_at, reason) OVERRIDING SYSTEM VALUE
SELECT number, asked.kind::charge_kind, 9001, 9001, course_id, 9001, (SELECT min(id) FROM assignment), credits,
       amount, 'EUR', at::timestamptz, CASE WHEN asked.kind = 'credit' THEN 'disputed' END
  FROM pool, (VALUES (9001, 'extension', NULL::bigint, 100, '2026-04-05'),
                     (9002, 'extension', NULL, 100, '2026-04-06'),
                     (9003, 'credit', 9001, -10, '2026-04-07'),
                     (9004, 'credit', 9001, -20, '2026-05-07'),
                     (9005, 'extension', NULL, 100, '2026-06-05'),
                     (9006, 'credit', 9002, -30, '2026-06-06'),
                     (9007, 'credit', 9002, -40, '2026-07-06')) AS asked (number, kind, credits, amount, at)
 WHERE pool.id = 9001 ORDER BY number;
INSERT INTO invoice (id, organization_id, month, currency) OVERRIDING SYSTEM VALUE
SELECT 9000 + month, 9001, make_date(2026, month, 1), 'EUR' FROM generate_series(4, 7) AS month;
INSERT INTO invoice_line (id, invoice_id, course_id, pool_id, kind, service_month, unit_price, quantity, amount)
OVERRIDING SYSTEM VALUE
SELECT line, 9000 + month, course_id, 9001, asked.kind::charge_kind, make_date(2026, month, 1), price, quantity,
       quantity * price
  FROM pool, (VALUES (9001, 4, 'extension', 100, 2), (9003, 4, 'credit', -10, 1), (9004, 5, 'credit', -20, 1),
                     (9005, 6, 'extension', 100, 1), (9006, 6, 'credit', -30, 1),
                     (9007, 7, 'credit', -40, 1)) AS asked (line, month, kind, price, quantity)
 WHERE pool.id = 9001;
INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
SELECT invoice_id, id, 9001, quantity FROM invoice_line WHERE pool_id = 9001;
INSERT INTO invoice_charge (invoice_id, line_id, charge_id)
     VALUES (9004, 9001, 9001), (9004, 9001, 9002), (9004, 9003, 9003), (9005, 9004, 9004),
            (9006, 9005, 9005), (9006, 9006, 9006), (9007, 9007, 9007);
UPDATE invoice SET tax_label = 'VAT', tax_percent = 20, subtotal = sums.amount, tax = sums.amount * 0.2,
                   total = sums.amount * 1.2
  FROM (SELECT invoice_id, sum(amount) AS amount FROM invoice_line GROUP BY 1) AS sums
 WHERE invoice_id = invoice.id AND organization_id = 9001;
UPDATE invoice SET status = 'finalized', year = 2025, serial = id - 9003, finalized_at = '2026-06-04',
       issued_on = '2025-06-04', due_on = '2026-07-04',
       seller = '{"name": "Operator"}', buyer = '{"name": "Old buyer"}'
 WHERE id IN (9004, 9005);
"""


@pytest.fixture
def session(databases) -> Iterator[Session]:
    engine = databases.empty()
    upgrading.make_first_release(engine, up_to="0017")
    run(engine, WORLD)
    migrating.upgrade(engine)
    with Session(engine) as session:
        yield session


def documents(session: Session) -> list[tuple[Any, ...]]:
    rows = session.execute(
        text("""SELECT to_char(month, 'MM'), kind::text, status::text, total::float,
                       (SELECT array_agg(charge_id - 9000 ORDER BY charge_id) FROM invoice_charge
                         WHERE invoice_id = invoice.id AND released_at IS NULL)
                  FROM invoice WHERE organization_id = 9001 ORDER BY 1, invoice.kind, invoice.status DESC""")
    )
    return [tuple(row) for row in rows]


def test_credits_stay_on_final_invoices_and_leave_drafts(session):
    assert documents(session) == [
        ("04", "invoice", "finalized", 228, [1, 2, 3]),
        ("05", "invoice", "finalized", -24, [4]),
        ("06", "invoice", "draft", 120, [5]),
    ]
    unbilled = session.scalars(
        text("SELECT id - 9000 FROM charge WHERE unbilled AND pool_id = 9001 ORDER BY id")
    )
    assert unbilled.all() == [6, 7]


def test_an_invoice_with_a_credit_is_voided_and_the_credit_waits_for_a_credit_note(session):
    set_clock(session, "2026-08-02T12:00Z")

    void = invoices.void(session, actor=OPERATOR, invoice="2025-000001", reason="Wrong address")
    final = invoices.finalize(session, actor=OPERATOR, invoice=void["draft"], anyway=True)
    runs.bill(session, actor=OPERATOR, organization_id=9001, grace=timedelta())

    assert (void["total"], final["total"]) == ("228.00", "240.00")
    assert documents(session) == [
        ("04", "invoice", "void", 228, None),
        ("04", "invoice", "finalized", 240, [1, 2]),
        ("04", "credit_note", "paid", -12, [3]),
        ("05", "invoice", "finalized", -24, [4]),
        ("06", "invoice", "finalized", 120, [5]),
        ("06", "credit_note", "paid", -36, [6]),
        ("07", "credit_note", "paid", -48, [7]),
    ]


def test_an_invoice_below_zero_is_a_credit_note_by_every_reader(session):
    set_clock(session, "2026-08-02T12:00Z")

    overdue = invoices.Filters(status=Standing.OVERDUE, organization="9001")
    listed = invoices.listing(session, actor=OPERATOR, filters=overdue).items
    shown = invoices.show(session, actor=OPERATOR, invoice="2025-000002")
    items = statements.of(session, actor=OPERATOR, organization="9001")["items"]

    assert [item["number"] for item in listed] == ["2025-000001"]
    assert (shown["title"], shown["open"], shown["overdue"]) == ("Credit note", "-24.00", False)
    assert [(item["open"], item["age"]) for item in items] == [
        ("228.00", "days_0_30"),
        ("-24.00", "credit"),
    ]
    reported = text(
        "SELECT number FROM report.invoice WHERE overdue AND organization = 'Old buyer'"
    )
    assert session.scalars(reported).all() == ["2025-000001"]
    assert runs.tell_overdue(session) >= 1
    told = text(
        "SELECT number FROM invoice WHERE told_overdue_at > '2026-08-01' AND organization_id = 9001"
    )
    assert session.scalars(told).all() == ["2025-000001"]
    with pytest.raises(errors.InvoiceStatusError, match="A credit note cannot be voided"):
        invoices.void(session, actor=OPERATOR, invoice="2025-000002", reason="Wrong address")
