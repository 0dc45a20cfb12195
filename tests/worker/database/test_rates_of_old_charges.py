"""Migrations 0018 and 0019: old charges, drafts and invoices get tax rates; final figures stay."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests import upgrading
from tests.worker.database.conftest import run
from worker.database import migrating

# An organization that was taxed at 17.5 % once, at 19 % from 2026 on, and at 21 % from 10 May on.
WORLD = """
INSERT INTO organization (id, name) OVERRIDING SYSTEM VALUE VALUES (9001, 'Old buyer');
INSERT INTO tax_rate (organization_id, label, percent, valid_from)
     VALUES (9001, 'VAT', 19, '2026-01-01'), (9001, 'VAT', 21, '2026-05-10');
INSERT INTO pool (id, organization_id, course_id, name, starts_at, expires_at, content_availability_days)
OVERRIDING SYSTEM VALUE
SELECT 9001, 9001, min(id), 'Old pool', '2026-01-01', '2027-01-01', 90 FROM course WHERE archived_at IS NULL;
INSERT INTO charge (id, kind, organization_id, learner_organization_id, course_id, pool_id, assignment_id,
                    credits_id, amount, currency, occurred_at, reason) OVERRIDING SYSTEM VALUE
SELECT number, asked.kind::charge_kind, 9001, 9001, course_id, 9001, (SELECT min(id) FROM assignment), credits,
       amount, 'EUR', at::timestamptz, CASE WHEN asked.kind = 'credit' THEN 'disputed' END
  FROM pool, (VALUES (9001, 'extension', NULL::bigint, 100, '2026-04-05'),
                     (9002, 'extension', NULL, 100, '2026-05-05'),
                     (9003, 'extension', NULL, 100, '2026-06-05'),
                     (9004, 'extension', NULL, 100, '2026-06-06'),
                     (9005, 'credit', 9002, -10, '2026-06-07'),
                     (9006, 'extension', NULL, 100, '2025-06-07'),
                     (9007, 'extension', NULL, 100, '2026-05-06')) AS asked (number, kind, credits, amount, at)
 WHERE pool.id = 9001 ORDER BY number;
INSERT INTO invoice (id, organization_id, month, currency) OVERRIDING SYSTEM VALUE
     VALUES (9001, 9001, '2026-04-01', 'EUR'), (9002, 9001, '2026-05-01', 'EUR'),
            (9003, 9001, '2026-06-01', 'EUR');
INSERT INTO invoice_line (id, invoice_id, course_id, pool_id, kind, service_month, unit_price, quantity, amount)
OVERRIDING SYSTEM VALUE
SELECT line, invoice, course_id, 9001, 'extension', month::date, 100, quantity, quantity * 100
  FROM pool, (VALUES (9001, 9001, '2026-04-01', 1), (9002, 9002, '2026-05-01', 1),
                     (9003, 9003, '2026-05-01', 3)) AS asked (line, invoice, month, quantity)
 WHERE pool.id = 9001;
INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
     VALUES (9001, 9001, 9001, 1), (9002, 9002, 9001, 1), (9003, 9003, 9001, 3);
INSERT INTO invoice_charge (invoice_id, line_id, charge_id)
     VALUES (9001, 9001, 9001), (9002, 9002, 9002), (9003, 9003, 9003), (9003, 9003, 9004), (9003, 9003, 9007);
UPDATE invoice SET subtotal = 300, tax_label = 'VAT', tax_percent = 21, tax = 63, total = 363 WHERE id = 9003;
UPDATE invoice SET status = 'finalized', year = 2026, serial = 9000 + id - 9000, finalized_at = '2026-06-04',
       issued_on = '2026-06-04', due_on = '2026-07-04', seller = '{}', buyer = '{}',
       subtotal = 100, tax_label = 'VAT', tax_percent = CASE id WHEN 9001 THEN 17.5 ELSE 21 END,
       tax = CASE id WHEN 9001 THEN 17.51 ELSE 21 END, total = CASE id WHEN 9001 THEN 117.51 ELSE 121 END
 WHERE id IN (9001, 9002);
"""


@pytest.fixture
def upgraded(databases) -> Engine:
    engine = databases.empty()
    upgrading.make_first_release(engine, up_to="0017")
    run(engine, WORLD)
    migrating.upgrade(engine, to="0019")
    return engine


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


TAXES = """
    SELECT invoice_id - 9000, percent::float, invoice_tax.subtotal::float, invoice_tax.tax::float
      FROM invoice_tax LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id
     WHERE invoice_id > 9000 ORDER BY 1, 2
"""
FIGURES = """
    SELECT id - 9000, subtotal::float, tax::float, total::float FROM invoice WHERE id > 9000 ORDER BY id
"""
CHARGES = """
    SELECT charge.id - 9000, percent::float
      FROM charge LEFT JOIN tax_rate ON tax_rate.id = tax_rate_id WHERE charge.id > 9000 ORDER BY 1
"""


def test_old_invoices_keep_their_figures_whatever_rates_there_are_now(upgraded):
    assert rows(upgraded, FIGURES)[:2] == [(1, 100, 17.51, 117.51), (2, 100, 21, 121)]
    assert rows(upgraded, TAXES)[:2] == [(1, 17.5, 100, 17.51), (2, 21, 100, 21)]


def test_a_charge_has_its_invoices_rate_or_else_that_of_its_day_and_a_credit_its_charges(upgraded):
    assert rows(upgraded, CHARGES) == [
        (1, 17.5),
        (2, 21),  # as it was invoiced, though 5 May has 19 %
        (3, 21),
        (4, 21),
        (5, 21),
        (6, 19),  # before the first rate, which counted for it, too
        (7, 19),
    ]


def test_a_drafts_lines_are_split_by_rate_and_it_is_added_up_anew(upgraded):
    assert rows(upgraded, TAXES)[2:] == [(3, 19, 100, 19), (3, 21, 200, 42)]
    assert rows(upgraded, FIGURES)[2] == (3, 300, 61, 361)
    carried = """
        SELECT percent::float, line.quantity, share.quantity,
               array_agg(charge_id - 9000 ORDER BY charge_id)
          FROM invoice_line AS line JOIN tax_rate ON tax_rate.id = tax_rate_id
          JOIN invoice_share AS share ON share.line_id = line.id
          JOIN invoice_charge ON invoice_charge.line_id = line.id
         WHERE line.invoice_id = 9003 GROUP BY 1, 2, 3 ORDER BY 1
    """
    assert rows(upgraded, carried) == [(19, 1, 1, [7]), (21, 2, 2, [3, 4])]


def test_a_rate_of_old_invoices_alone_never_holds_again(upgraded):
    kept = "SELECT percent::float FROM tax_rate WHERE organization_id = 9001 AND valid_from IS NULL"

    assert rows(upgraded, kept) == [(17.5,)]
