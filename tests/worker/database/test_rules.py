"""Every rule of schema.sql refuses what it should, by its own name."""

import random
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from string import Template

import psycopg
import pytest

from tests.conftest import Addresses, connect
from worker.database import schema

# Berlin (1) with its child Kreuzberg (2), and Paris (3). A pool of Berlin's whose first key was
# redeemed for 49.90 EUR, a draft that gathers, and a finalized invoice that carries the charge.
# Ids up to 1000 are given by hand.
WORLD = """
SELECT setval(pg_get_serial_sequence(table_name, 'id'), 1000) FROM information_schema.columns
 WHERE table_schema = 'public' AND is_identity = 'YES';
INSERT INTO organization (id, name, parent_id) OVERRIDING SYSTEM VALUE
     VALUES (1, 'Berlin', NULL), (2, 'Kreuzberg', 1), (3, 'Paris', NULL);
INSERT INTO course (id, code, title, archived_at) OVERRIDING SYSTEM VALUE
     VALUES (1, 'K8S-101', 'Kubernetes', NULL), (2, 'OLD-1', 'Old things', now());
INSERT INTO price (course_id, amount, currency, valid_from)
     VALUES (1, 49.90, 'EUR', '2026-01-01');
INSERT INTO tax_rate (id, organization_id, percent, valid_from) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 19, '2026-01-01'), (2, 1, 20, '2026-02-01'), (3, 3, 19, '2026-01-01');
INSERT INTO pool (id, organization_id, course_id, name, starts_at, expires_at,
                  content_availability_days) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 1, 'Autumn', '2026-01-01', '2027-01-01', 180);
INSERT INTO distribution (pool_id, recipient, reference) VALUES (1, 'shop@example.com', 'A-1');
INSERT INTO pool_unusual (pool_id, rule, seen, usual, most) VALUES (1, 'sudden_pace', 30, 2, 5);
INSERT INTO batch (id, pool_id, kind, requested) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'import', 9);
INSERT INTO key (id, pool_id, code, state) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 'AAAA-0001', 'redeemed'), (2, 1, 'AAAA-0002', 'issued');
INSERT INTO bulk_act (id, actor, role, act, how, asked_as) OVERRIDING SYSTEM VALUE
     VALUES (1, 'test', 'operator', 'extend', '{}', 'once');
INSERT INTO bulk_act_row (act_id, nth, thing_id) VALUES (1, 1, 1);
INSERT INTO token (organization_id, name, role, hash) VALUES (1, 'desk', 'manager', 'abc');
INSERT INTO answer (token_id, key, request) SELECT id, 'order-1', 'abc' FROM token;
INSERT INTO source (id, organization_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'shop');
INSERT INTO learner (id, organization_id, email) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 'Ann@example.com'), (2, 2, 'bob@example.com');
INSERT INTO assignment (id, key_id, pool_id, course_id, learner_id, organization_id,
                        redeemed_at, expires_at) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 1, 1, 1, 1, '2026-02-01', '2026-08-01');
INSERT INTO event (id, source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                   type) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 1, 1, 'msg_1', 'abc', 'redemption.requested'),
            (2, 1, 1, 1, 'msg_2', 'abc', 'redemption.requested');
INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email, key_id,
                        pool_id, assignment_id, outcome, received_at)
     VALUES (1, 1, 1, 'ann@example.com', 1, 1, 1, 'redeemed', '2026-02-01');
INSERT INTO launch (assignment_id, organization_id, source_id, launch, launched_at)
     VALUES (1, 1, 1, 'launch-1', '2026-02-02'), (1, 1, NULL, 'launch-1', '2026-02-02');
INSERT INTO console_user (organization_id, email, role, password_hash)
     VALUES (1, 'meg@example.com', 'manager', '$argon2id$x');
INSERT INTO endpoint (id, organization_id, url, types) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 'https://hooks.example/1', '{pool.low}');
INSERT INTO delivery (endpoint_id, type, data) VALUES (1, 'pool.low', '{}');
INSERT INTO mail_template (organization_id, name, subject, body)
     VALUES (1, 'Welcome', 'Your key', '{{ keys }}');
INSERT INTO message (organization_id, distribution_id, kind, recipient, data)
     SELECT 1, id, 'keys', 'shop@example.com', '{}' FROM distribution;
INSERT INTO charge (id, kind, organization_id, learner_organization_id, course_id, pool_id,
                    assignment_id, amount, currency, occurred_at, tax_rate_id) OVERRIDING SYSTEM VALUE
     VALUES (1, 'redemption', 1, 1, 1, 1, 1, 49.90, 'EUR', '2026-02-01', NULL),
            (2, 'extension', 1, 1, 1, 1, 1, 10.00, 'EUR', '2026-02-02', NULL),
            (3, 'extension', 1, 1, 1, 1, 1, 10.00, 'USD', '2026-02-02', 2);
INSERT INTO invoice (id, organization_id, month, currency) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, '2026-03-01', 'EUR'), (2, 1, '2026-02-01', 'EUR');
INSERT INTO report_run (invoice_id, notebook, first_day, last_day, asked_by, cells)
     VALUES (1, 'billing', '2026-03-01', '2026-03-31', 'schedule', 10);
INSERT INTO report_schedule (id, notebook, every, asked_by) OVERRIDING SYSTEM VALUE
     VALUES (1, 'usage', 'month', 'test');
INSERT INTO report_run (schedule_id, notebook, first_day, last_day, asked_by)
     VALUES (1, 'usage', '2026-03-01', '2026-03-31', 'schedule 1');
INSERT INTO invoice_line (id, invoice_id, course_id, pool_id, kind, service_month, unit_price,
                          quantity, amount) OVERRIDING SYSTEM VALUE
     VALUES (1, 1, 1, 1, 'extension', '2026-02-01', 10, 1, 10),
            (2, 2, 1, 1, 'redemption', '2026-02-01', 49.90, 1, 49.90);
INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
     VALUES (1, 1, 1, 1), (2, 2, 1, 1);
INSERT INTO invoice_charge (invoice_id, charge_id, line_id) VALUES (2, 1, 2);
UPDATE invoice SET status = 'finalized', year = 2026, serial = 1, finalized_at = '2026-03-04',
       issued_on = '2026-03-04', due_on = '2026-04-03', subtotal = 49.90, total = 49.90,
       seller = '{}', buyer = '{}'
 WHERE id = 2;
INSERT INTO history (actor, action, thing, thing_id) VALUES ('test', 'built', 'world', 1);
"""

ASSIGNMENT = """INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id,
                                        redeemed_at, expires_at)
                VALUES ({key}, 1, 1, {learner}, 1, '2026-02-01', '{expires}')"""
CHARGE = """INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,
                                assignment_id, credits_id, amount, currency, occurred_at, reason)
            VALUES ('{kind}', 1, 1, 1, 1, 1, {credits}, {amount}, '{currency}', '2026-02-03', {why})"""
EVENT = """INSERT INTO event (source_id, organization_id, webhook_id, body_hash, type)
           VALUES (1, 1, '{webhook}', 'abc', '{type}')"""
REDEMPTION = """INSERT INTO redemption (event_id, organization_id, learner_organization_id,
                        learner_email, key_id, pool_id, assignment_id, outcome, received_at)
                VALUES (2, 1, 1, 'a@b.c', {key}, {pool}, {assignment}, '{outcome}', now())"""
REPLACEMENT = """INSERT INTO key_replacement (old_key_id, new_key_id, distribution_id, reason)
                 SELECT key.id, 2, distribution.id, {reason} FROM key, distribution WHERE {old}"""
CHUNK = """INSERT INTO batch_chunk (batch_id, position, size, last_line, lines, codes)
           VALUES (1, 0, {}, 9, {})"""
PAYMENT = """INSERT INTO payment (invoice_id, paid_on, amount, reference)
    VALUES ({invoice}, '2026-03-05', {amount}, '{reference}')"""
LINE = """INSERT INTO invoice_line (invoice_id, course_id, pool_id, kind, service_month,
                                    unit_price, quantity, amount)
          VALUES ({invoice}, 1, 1, 'extension', '2026-02-01', {price}, 1, {amount})"""
SHARE = """INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
           VALUES ({invoice}, {line}, 2, 1)"""
TAX = "INSERT INTO invoice_tax (invoice_id, subtotal, tax) VALUES ({invoice}, 10, 0)"
POOL = """INSERT INTO pool (organization_id, course_id, name, starts_at, expires_at,
                            content_availability_days)
          VALUES (1, {course}, 'Spring', '2026-01-01', '2027-01-01', 180)"""


def charge(
    kind: str = "extension",
    *,
    credits: str = "NULL",
    amount: str = "1",
    currency: str = "EUR",
    why: str = "NULL",
) -> str:
    return CHARGE.format(kind=kind, credits=credits, amount=amount, currency=currency, why=why)


# What each rule refuses, by the rule's name.
REFUSED = {
    # Organizations, courses, prices
    "currency_has_its_minor_unit": ["INSERT INTO currency VALUES ('ABC', 3)"],
    "organization_name_is_unique": ["UPDATE organization SET name = 'Berlin' WHERE id = 3"],
    "organization_has_a_name": [
        "UPDATE organization SET name = '' WHERE id = 1",
        "UPDATE organization SET name = ' Berlin' WHERE id = 1",
        "UPDATE organization SET name = repeat('x', 201) WHERE id = 1",
    ],
    "organization_time_zone_is_known": [
        f"UPDATE organization SET time_zone = '{zone}' WHERE id = 1"
        for zone in (
            "Mars/Phobos",
            "Europe/berlin",
            "CEST",
            "UTC+3",
            "Europe/Berlin5",
            "",
            "5",
            "EST5",
            "CET",
            "Factory",
        )
    ],
    "organization_country_is_a_code": ["UPDATE organization SET country = 'de'"],
    "organization_is_not_its_parent": ["UPDATE organization SET parent_id = 1 WHERE id = 1"],
    "organization_slug_is_unique": ["UPDATE organization SET slug = 'same'"],
    "organization_slug_is_an_address": [
        f"UPDATE organization SET slug = '{slug}' WHERE id = 1"
        for slug in ("Acme", "a b", "-a", "a-", "a--b", "ä", "a/b", "a" * 61)
    ],
    "organization_redeem_text_is_short": [
        "UPDATE organization SET redeem_text = repeat('x', 2001) WHERE id = 1"
    ],
    "organization_redeem_domains_are_few": [
        "UPDATE organization SET redeem_domains = array_fill('a.test'::text, ARRAY[101])"
    ],
    "organization_logo_is_a_small_png": [
        f"INSERT INTO organization_logo VALUES (1, {content}, 1, 1)"
        for content in (
            r"'\\x474946'",
            r"'\\x89504e470d0a1a0a' || decode(repeat('00', 200000), 'hex')",
        )
    ],
    "organization_logo_has_a_size": [
        rf"INSERT INTO organization_logo VALUES (1, '\\x89504e470d0a1a0a', {size})"
        for size in ("0, 1", "481, 1", "1, 161")
    ],
    "organization_colour_is_a_code": ["UPDATE organization SET colour = 'red' WHERE id = 1"],
    "organization_pays_in_time": ["UPDATE organization SET payment_terms_days = -1 WHERE id = 1"],
    "organizations_form_a_tree": [
        "UPDATE organization SET parent_id = 2 WHERE id = 1",
        "INSERT INTO organization (id, name, parent_id) OVERRIDING SYSTEM VALUE"
        " VALUES (11, 'Child', 10), (10, 'Parent', NULL)",
    ],
    "ancestry_distance_counts_up": ["UPDATE organization_ancestry SET distance = -1"],
    "tax_rate_changes_once_an_instant": [
        "INSERT INTO tax_rate (organization_id, percent, valid_from) VALUES (1, 7, '2026-01-01')"
    ],
    "tax_rate_is_a_percentage": ["UPDATE tax_rate SET percent = 100.001"],
    "tax_rate_has_a_known_category": [
        "UPDATE tax_rate SET category = 'X'",
        "UPDATE tax_rate SET percent = 0",
        "UPDATE tax_rate SET category = 'Z'",
    ],
    "tax_rate_says_why_nothing_is_due": [
        "UPDATE tax_rate SET exemption = 'Why'",
        "UPDATE tax_rate SET category = 'AE', percent = 0",
    ],
    "charged_tax_rate_never_changes": [
        "UPDATE tax_rate SET percent = 7 WHERE id = 2",
    ],
    "seller_time_zone_is_known": ["UPDATE seller SET time_zone = 'Mars/Olympus'"],
    "seller_country_is_a_code": ["UPDATE seller SET country = 'Germany'"],
    "bank_account_has_an_iban": ["INSERT INTO seller_bank VALUES ('EUR', '12345678')"],
    "bank_has_a_bic_or_none": [
        "INSERT INTO seller_bank VALUES ('EUR', 'DE89370400440532013000', 'COBA')"
    ],
    "journal_has_days_in_order": [
        "INSERT INTO journal_export VALUES (1, '2026-02-01', '2026-01-01', '{}')"
    ],
    "journal_is_numbered_once_a_period": [
        "INSERT INTO journal_export VALUES (1, '2026-01-01', '2026-01-31', '{}'),"
        " (2, '2026-01-01', '2026-01-31', '{}')"
    ],
    "seller_keeps_or_skips_zero": ["UPDATE seller SET zero_invoices = 'maybe'"],
    "seller_is_one": ["INSERT INTO seller (only_one) VALUES (false)"],
    "course_code_is_unique": ["INSERT INTO course (code, title) VALUES ('k8s-101', 'Again')"],
    "course_has_a_code": ["UPDATE course SET code = ' '", "UPDATE course SET code = ''"],
    "course_has_a_title": ["UPDATE course SET title = ''"],
    "course_launch_url_is_an_address": [
        "UPDATE course SET launch_url = 'ftp://x', launch_secret_encrypted = 'x'"
    ],
    "course_is_launched_with_a_secret": ["UPDATE course SET launch_url = 'https://x.example'"],
    "price_changes_once_an_instant": [
        "INSERT INTO price (course_id, amount, currency, valid_from)"
        " VALUES (1, 1, 'EUR', '2026-01-01')"
    ],
    "price_is_in_the_minor_unit": [
        "UPDATE price SET amount = 49.905",
        "UPDATE price SET amount = 49.9, currency = 'JPY'",
        "UPDATE price SET amount = 0.0001, currency = 'KWD'",
    ],
    "price_ends_after_it_began": [
        "UPDATE price SET organization_id = 1, valid_until = valid_from - interval '1 second'"
    ],
    "list_price_never_ends": ["UPDATE price SET valid_until = '2030-01-01'"],
    "price_is_not_negative": ["UPDATE price SET amount = -1"],
    # Pools and keys
    "pool_name_is_unique_in_its_organization": [
        POOL.format(course=1).replace("Spring", "Autumn"),
    ],
    "pool_has_a_name": ["UPDATE pool SET name = 'Autumn '"],
    "pool_starts_before_it_expires": ["UPDATE pool SET expires_at = starts_at"],
    "pool_content_is_available_1_to_3650_days": [
        "UPDATE pool SET content_availability_days = 0",
        "UPDATE pool SET content_availability_days = 3651",
    ],
    "pool_is_not_made_for_an_archived_course": [
        POOL.format(course=2),
        "UPDATE pool SET course_id = 2",
    ],
    "distribution_has_a_recipient": ["UPDATE distribution SET recipient = ''"],
    "distribution_is_made_once": [
        "INSERT INTO distribution (pool_id, recipient, reference)"
        " VALUES (1, 'SHOP@example.com', 'A-1')"
    ],
    "batch_asks_for_something": ["UPDATE batch SET requested = 0"],
    "batch_works_what_it_was_asked": [
        "UPDATE batch SET worked = 10",
        "UPDATE batch SET worked = -1",
    ],
    "batch_makes_what_it_was_asked": ["UPDATE batch SET made = 10", "UPDATE batch SET made = -1"],
    "batch_ends_once": [
        "UPDATE batch SET state = 'done'",
        "UPDATE batch SET finished_at = now()",
    ],
    "batch_failure_has_its_error": [
        "UPDATE batch SET state = 'failed', finished_at = now()",
        "UPDATE batch SET error = 'no'",
    ],
    "bulk_act_is_asked_once": [
        "INSERT INTO bulk_act (actor, role, act, how, asked_as)"
        " VALUES ('test', 'operator', 'cancel', '{}', 'once')"
    ],
    "bulk_act_works_what_it_was_asked": [
        "UPDATE bulk_act SET worked = 1",
        "UPDATE bulk_act SET requested = 1, done = 1",
    ],
    "bulk_act_ends_once": ["UPDATE bulk_act SET state = 'done'"],
    "bulk_act_failure_has_its_error": ["UPDATE bulk_act SET state = 'failed', finished_at = now()"],
    "bulk_act_row_is_refused_for_a_reason": ["UPDATE bulk_act_row SET code = 'not_found'"],
    "batch_chunk_has_a_code_per_line": [CHUNK.format(2, "'{1,2}', '{AAAA-0009}'")],
    "batch_chunk_counts_its_lines": [
        CHUNK.format(1, "'{1,2}', '{AAAA-0008,AAAA-0009}'"),
        CHUNK.format(0, "'{}', '{}'"),
    ],
    "batch_line_made_no_key": [
        "INSERT INTO batch_line (batch_id, line, code, result) VALUES (1, 1, 'AAAA-0009', 'added')"
    ],
    "batch_line_is_invalid_for_a_reason": [
        "INSERT INTO batch_line (batch_id, line, code, result) VALUES (1, 1, '=1+1', 'invalid')",
        "INSERT INTO batch_line VALUES (1, 1, 'AAAA-0001', 'already_exists', 'too old')",
    ],
    "batch_line_exists_once": [
        "INSERT INTO batch_line (batch_id, line, code, result) VALUES"
        " (1, 1, 'AAAA-0001', 'already_exists'), (1, 2, 'aaaa 0001', 'already_exists')"
    ],
    "key_takes_anothers_place": [REPLACEMENT.format(reason="'Lost'", old="key.id = 2")],
    "key_takes_one_place": [
        "INSERT INTO key (pool_id, code) VALUES (1, 'AAAA-0003'); "
        + REPLACEMENT.format(reason="'Lost'", old="key.id <> 2")
    ],
    "replacement_has_a_reason": [
        REPLACEMENT.format(reason=reason, old="key.id = 1")
        for reason in ("''", "' Lost'", "repeat('x', 1001)")
    ],
    "key_is_made_by_a_batch_of_its_pool": [
        "INSERT INTO key (pool_id, batch_id, code) VALUES (1, 99, 'AAAA-0009')",
        POOL.format(course=1) + "; INSERT INTO batch (id, pool_id, kind, requested)"
        " OVERRIDING SYSTEM VALUE SELECT 2, max(id), 'import', 1 FROM pool;"
        " INSERT INTO key (pool_id, batch_id, code) VALUES (1, 2, 'AAAA-0009')",
    ],
    "key_is_unique_in_the_whole_system": [
        "INSERT INTO key (pool_id, code) VALUES (1, 'aaaa 0002')",
        "UPDATE key SET code = 'aa.aa-00_01' WHERE id = 2",
    ],
    "key_labels_are_a_few_words": [
        f"UPDATE key SET labels = {labels} WHERE id = 2"
        for labels in (
            "'{}'",
            "'{\"\"}'",
            "'{a,a}'",
            "'{a,NULL}'",
            "'{{a},{b}}'",
            "'{\" a\"}'",
            "'{\"a \"}'",
            "ARRAY['a, b']",
            "ARRAY['a;b']",
            "ARRAY['a|b']",
            "ARRAY[repeat('a', 51)]",
            "ARRAY(SELECT n::text FROM generate_series(1, 11) AS n)",
        )
    ],
    "batch_labels_are_a_few_words": ["UPDATE batch SET labels = '{a,a}'"],
    "key_code_is_well_formed": [
        f"UPDATE key SET code = {code} WHERE id = 2"
        for code in (
            "'SHORT-1'",
            "repeat('A', 65)",
            "' AAAA-0002'",
            "'AAAA-0002-'",
            "'AAAA/0002'",
            "'ÄAAA-0002'",
            "E'AAAA-0002\\n'",
            "'A-A-A-A-A-A'",
        )
    ],
    # Who may come in
    "token_is_unique": [
        "INSERT INTO token (organization_id, name, role, hash) VALUES (3, 'x', 'sender', 'abc')"
    ],
    "token_has_a_name": [
        "UPDATE token SET name = ''",
        "UPDATE token SET name = repeat('x', 201)",
    ],
    "token_of_the_operator_has_no_organization": [
        "UPDATE token SET role = 'operator'",
        "UPDATE token SET organization_id = NULL",
    ],
    "console_session_is_unique": [
        "INSERT INTO console_session (user_id, hash, device, client, ends_at)"
        " SELECT id, 'a', 'b', 'c', now() FROM console_user, generate_series(1, 2)"
    ],
    "sign_in_link_is_unique": [
        "INSERT INTO sign_in_link (user_id, hash, ends_at)"
        " SELECT id, 'a', now() FROM console_user, generate_series(1, 2)"
    ],
    "recovery_code_is_unique": [
        "INSERT INTO recovery_code (user_id, hash)"
        " SELECT id, 'a' FROM console_user, generate_series(1, 2)"
    ],
    "identity_provider_is_an_organizations_one": [
        "INSERT INTO identity_provider (organization_id, issuer, client_id, secret_encrypted)"
        " SELECT 1, 'https://a', 'a', 'a' FROM generate_series(1, 2)"
    ],
    "identity_provider_has_a_client": [
        "INSERT INTO identity_provider (organization_id, issuer, client_id, secret_encrypted)"
        f" VALUES (1, 'https://a', {client}, 'a')"
        for client in ("''", "repeat('x', 301)")
    ],
    "answer_has_a_key": [
        f"UPDATE answer SET key = {key}"
        for key in ("''", "'order 1'", "repeat('x', 256)", "E'order-1\\n'", "'é'")
    ],
    "source_name_is_unique_in_its_organization": [
        "INSERT INTO source (organization_id, name) VALUES (1, 'shop')"
    ],
    "source_is_an_organizations_only_page": [
        "INSERT INTO source (organization_id, name, kind) VALUES (1, 'a', 'page'), (1, 'b', 'page')"
    ],
    "page_session_is_known_by_its_hash": [
        "INSERT INTO page_session (hash, email, client_hash, language, needs_code)"
        " VALUES ('a', 'a@b.example', 'c', 'en', true), ('a', 'b@b.example', 'c', 'en', true)"
    ],
    "page_session_has_five_tries": [
        "INSERT INTO page_session (hash, email, client_hash, language, needs_code, tries)"
        " VALUES ('a', 'a@b.example', 'c', 'en', true, 6)"
    ],
    "source_has_a_name": [
        "UPDATE source SET name = ''",
        "UPDATE source SET name = repeat('x', 201)",
    ],
    # Learners and their assignments
    "learner_has_an_email": ["UPDATE learner SET email = '' WHERE id = 1"],
    "learner_is_joined_to_another": ["UPDATE learner SET joined_at = clock_now() WHERE id = 1"],
    "learner_is_one_person_per_organization": [
        "INSERT INTO learner (organization_id, email) VALUES (1, 'ann@EXAMPLE.com')"
    ],
    "assignment_is_to_its_pools_course": [
        ASSIGNMENT.format(key=2, learner=2, expires="2026-08-01").replace("2, 1, 1,", "2, 1, 2,"),
        ASSIGNMENT.format(key=2, learner=2, expires="2026-08-01").replace("2, 1, 1,", "2, 9, 1,"),
    ],
    "assignment_gives_access_for_a_while": [
        ASSIGNMENT.format(key=2, learner=2, expires="2026-02-01")
    ],
    "assignment_is_expired_at_a_time": ["UPDATE assignment SET status = 'expired'"],
    "assignment_is_cancelled_at_a_time": ["UPDATE assignment SET cancelled_at = now()"],
    "assignment_is_undone_by_cancelling": ["UPDATE assignment SET undone = true"],
    "key_is_spent_once": [
        ASSIGNMENT.format(key=1, learner=2, expires="2026-08-01"),
        "UPDATE assignment SET status = 'expired', expired_at = now();"
        + ASSIGNMENT.format(key=1, learner=2, expires="2026-08-01"),
    ],
    "learner_has_one_live_assignment_per_course": [
        ASSIGNMENT.format(key=2, learner=1, expires="2026-08-01")
    ],
    # The inbox
    "event_is_recorded_once": [EVENT.format(webhook="msg_1", type="training.ended")],
    "event_is_settled_with_an_outcome": [
        "UPDATE event SET status = 'settled' WHERE id = 1",
        "UPDATE event SET status = 'settled', outcome = 'redeemed' WHERE id = 1",
        "UPDATE event SET outcome = 'redeemed' WHERE id = 1",
    ],
    "event_failure_has_its_error": ["UPDATE event SET status = 'failed' WHERE id = 1"],
    "event_waits_while_recorded": [
        "UPDATE event SET status = 'settled', outcome = 'x', settled_at = now(), waits_for = 'l'"
        " WHERE id = 1"
    ],
    "redemption_names_the_learners_organization": [
        EVENT.format(webhook="msg_3", type="redemption.requested")
    ],
    "settlement_claims_something": ["INSERT INTO settlement (event_ids) VALUES ('{}')"],
    "settlement_is_a_trees_only_one": [
        "INSERT INTO settlement (root_id, event_ids) VALUES (1, '{1}'), (1, '{2}')"
    ],
    "redemption_without_a_key_found_none": [
        REDEMPTION.format(key="NULL", pool="NULL", assignment="NULL", outcome="key_retired"),
        REDEMPTION.format(key=2, pool=1, assignment="NULL", outcome="unknown_key"),
    ],
    "redemption_knows_its_keys_pool": [
        REDEMPTION.format(key=2, pool="NULL", assignment="NULL", outcome="key_retired")
    ],
    "redemption_leads_to_an_assignment": [
        REDEMPTION.format(key=2, pool=1, assignment="NULL", outcome="redeemed"),
        REDEMPTION.format(key=2, pool=1, assignment="NULL", outcome="already_yours"),
    ],
    "attempt_stays_as_decided": [
        "UPDATE redemption SET organization_id = 99",
        "UPDATE redemption SET pool_id = 9",
        "UPDATE redemption SET outcome = 'already_yours'",
    ],
    "assignment_comes_from_one_redemption": [
        REDEMPTION.format(key=1, pool=1, assignment=1, outcome="redeemed")
    ],
    "launch_is_recorded_once": [
        "INSERT INTO launch (assignment_id, organization_id, source_id, launch, launched_at)"
        " VALUES (1, 1, 1, 'launch-1', now())"
    ],
    "launch_over_the_api_is_recorded_once": [
        "INSERT INTO launch (assignment_id, organization_id, launch, launched_at)"
        " VALUES (1, 1, 'launch-1', now())"
    ],
    "pool_is_unusual_once_by_a_rule": [
        "INSERT INTO pool_unusual (pool_id, rule, seen, usual, most) VALUES (1, 'sudden_pace', 1, 0, 0)"
    ],
    "pool_unusual_share_is_of_something": ["UPDATE pool_unusual SET among = 3"],
    "pool_unusual_count_has_a_highest": ["UPDATE pool_unusual SET most = NULL"],
    "pool_growth_counts_keys": ["UPDATE pool_growth SET keys = 0"],
    "attempt_tally_counts_attempts": ["UPDATE attempt_tally SET attempts = 0"],
    "user_of_the_operator_has_no_organization": [
        "UPDATE console_user SET role = 'operator'",
        "UPDATE console_user SET organization_id = NULL",
    ],
    "user_has_an_address": ["UPDATE console_user SET email = ''"],
    "user_email_is_unique": [
        "INSERT INTO console_user (organization_id, email, role, password_hash)"
        " VALUES (1, 'MEG@example.com', 'manager', '$argon2id$x')"
    ],
    "user_has_a_hashed_password": ["UPDATE console_user SET password_hash = 'secret'"],
    "endpoint_wants_something": ["UPDATE endpoint SET types = '{}'"],
    "endpoint_reason_is_of_a_pause": ["UPDATE endpoint SET paused_because = 'It is gone.'"],
    "endpoint_calls_a_pool_low": [
        "UPDATE endpoint SET pool_low = 0",
        "UPDATE endpoint SET pool_low = 1000000001",
    ],
    "endpoint_calls_a_pool_expiring": [
        "UPDATE endpoint SET pool_expiring_days = 0",
        "UPDATE endpoint SET pool_expiring_days = 3651",
    ],
    "endpoint_is_registered_once": [
        "INSERT INTO endpoint (organization_id, url, types)"
        " VALUES (1, 'https://hooks.example/1', '{pool.low}')"
    ],
    "mail_template_has_a_name": ["UPDATE mail_template SET name = ' '"],
    "mail_template_has_a_subject": ["UPDATE mail_template SET subject = ''"],
    "mail_template_has_a_body": ["UPDATE mail_template SET body = ''"],
    "mail_template_is_in_force_once": [
        "INSERT INTO mail_template (organization_id, name, subject, body)"
        " VALUES (1, 'Welcome', 'Your key', '{{ keys }}')"
    ],
    "message_ends_once": [
        "UPDATE message SET ended_at = now()",
        "UPDATE message SET state = 'sent'",
    ],
    "message_failure_has_its_error": ["UPDATE message SET state = 'failed', ended_at = now()"],
    "message_has_a_body_to_send": ["UPDATE message SET data = NULL"],
    "message_is_refused_for_good": ["UPDATE message SET refused = true"],
    "message_gives_keys_once": [
        "INSERT INTO message (organization_id, distribution_id, kind, recipient, data)"
        " SELECT 1, id, 'keys', 'x@example.com', '{}' FROM distribution"
    ],
    "message_reminds_of_a_thing": ["UPDATE message SET about = 'pool 1'"],
    "message_reminds_once": [
        "INSERT INTO message (organization_id, kind, recipient, data, about, occasion)"
        " SELECT 1, 'pool_low', 'x@example.com', '{}', 'pool 1', '2026-02-01' FROM (VALUES (1), (2)) AS t"
    ],
    "reminder_has_its_threshold": [
        "INSERT INTO reminder VALUES (1, 'trouble', 5, '', now())",
        "INSERT INTO reminder VALUES (1, 'pool_low', NULL, '', now())",
    ],
    "reminder_comes_in_days": ["INSERT INTO reminder VALUES (1, 'key_unused', 0, '', now())"],
    "reminder_counts_keys": ["INSERT INTO reminder VALUES (1, 'pool_low', 0, '', now())"],
    "unsubscribed_is_in_lower_case": ["INSERT INTO unsubscribed VALUES (1, 'Ann@example.com')"],
    "mail_server_is_one": ["INSERT INTO mail_server (only_one) VALUES (false)"],
    "first_start_is_one": ["INSERT INTO first_start (only_one) VALUES (false)"],
    "first_start_link_ends": ["UPDATE first_start SET hash = 'a'"],
    "first_start_samples_once": ["UPDATE first_start SET samples_made_at = now()"],
    "schedule_beat_is_one": ["INSERT INTO schedule_beat (only_one) VALUES (false)"],
    "delivery_ends_once": [
        "UPDATE delivery SET ended_at = now()",
        "UPDATE delivery SET state = 'delivered'",
    ],
    "delivery_failure_has_its_error": ["UPDATE delivery SET state = 'failed', ended_at = now()"],
    "delivery_has_a_body_to_send": ["UPDATE delivery SET data = NULL"],
    "report_is_made_once_for_an_invoice": [
        "INSERT INTO report_run (invoice_id, notebook, first_day, last_day, asked_by)"
        " VALUES (1, 'billing', '2026-03-01', '2026-03-31', 'schedule')"
    ],
    "report_names_a_notebook_without_a_path": [
        f"UPDATE report_run SET notebook = '{name}'"
        for name in ("../usage", "/srv/usage", "", ".usage", "a/b", "usage.ipynb")
    ],
    "report_has_a_few_parameters": [
        "UPDATE report_run SET parameters = '[]'",
        "UPDATE report_run SET parameters = jsonb_build_object('long', repeat('x', 4000))",
    ],
    "report_is_made_once_for_a_period": [
        "INSERT INTO report_run (schedule_id, notebook, first_day, last_day, asked_by)"
        " VALUES (1, 'usage', '2026-03-01', '2026-03-31', 'schedule 1')"
    ],
    "schedule_names_a_notebook_without_a_path": [
        "UPDATE report_schedule SET notebook = '../usage'"
    ],
    "schedule_has_a_few_parameters": [
        "UPDATE report_schedule SET parameters = '[]'",
        "UPDATE report_schedule SET parameters = jsonb_build_object('long', repeat('x', 4000))",
    ],
    "schedule_mails_to_a_few": [
        "UPDATE report_schedule SET recipients = array_fill('a@example.com'::text, '{51}')"
    ],
    "schedule_mails_to_somebody": ["UPDATE report_schedule SET recipients = '{NULL}'"],
    "schedule_that_is_removed_mails_nobody": [
        "UPDATE report_schedule SET recipients = '{a@example.com}', removed_at = now()"
    ],
    "report_has_days_in_order": ["UPDATE report_run SET last_day = '2026-02-28'"],
    "report_works_the_cells_it_has": [
        "UPDATE report_run SET worked = 11",
        "UPDATE report_run SET worked = -1",
    ],
    "report_is_attended_while_it_runs": ["UPDATE report_run SET state = 'running'"],
    "report_ends_once": ["UPDATE report_run SET finished_at = now()"],
    "report_that_is_done_has_its_page": [
        "UPDATE report_run SET state = 'done', finished_at = now()",
        "UPDATE report_run SET page = '<p>'",
        "UPDATE report_run SET state = 'done', finished_at = now(), page = '<p>'",
    ],
    "report_is_printed_where_that_was_asked": [
        "UPDATE report_run SET format = 'pdf', pdf = '%PDF'",
        "UPDATE report_run SET pdf = '%PDF', page = '<p>', state = 'done', finished_at = now(),"
        " data_at = now()",
    ],
    "report_failure_has_its_traceback": [
        "UPDATE report_run SET state = 'failed', finished_at = now()",
        "UPDATE report_run SET traceback = 'no'",
    ],
    "launch_ends_after_it_began": ["UPDATE launch SET ended_at = '2026-02-01'"],
    "launch_refused_never_ends": [
        "UPDATE launch SET outcome = 'assignment_expired', ended_at = now()"
    ],
    "launch_is_completed_by_ending": [
        "UPDATE launch SET completed = true",
        "UPDATE launch SET score = 1",
    ],
    # Billing
    "invoice_month_is_its_first_day": [
        "INSERT INTO invoice (organization_id, month, currency) VALUES (1, '2026-05-02', 'EUR')"
    ],
    "invoice_total_adds_up": ["UPDATE invoice SET total = 1 WHERE id = 1"],
    "invoice_number_is_given_once": [
        "UPDATE invoice SET status = 'finalized', year = 2026, serial = 1, finalized_at = now(),"
        " issued_on = '2026-03-04', due_on = now(), seller = '{}', buyer = '{}' WHERE id = 1"
    ],
    "invoice_number_counts_from_1": [
        "UPDATE invoice SET status = 'finalized', year = 2026, serial = 0, finalized_at = now(),"
        " issued_on = '2026-03-04', due_on = now(), seller = '{}', buyer = '{}' WHERE id = 1"
    ],
    "invoice_has_seller_and_buyer_when_final": [
        "UPDATE invoice SET status = 'finalized', year = 2026, serial = 2, finalized_at = now(),"
        " issued_on = '2026-03-04', due_on = now() WHERE id = 1"
    ],
    "invoice_is_numbered_when_final": [
        "UPDATE invoice SET year = 2026, serial = 2 WHERE id = 1",
        "UPDATE invoice SET status = 'finalized', seller = '{}', buyer = '{}' WHERE id = 1",
    ],
    "invoice_is_numbered_in_the_year_of_its_issue": [
        "UPDATE invoice SET status = 'finalized', year = 2026, serial = 2, finalized_at = now(),"
        " issued_on = '2027-01-01', due_on = now(), seller = '{}', buyer = '{}' WHERE id = 1"
    ],
    "payment_is_of_money": [PAYMENT.format(invoice=2, amount=0, reference="")],
    "payment_reference_is_short": [PAYMENT.format(invoice=2, amount=1, reference=" x")],
    "payment_is_taken_back_for_a_reason": [
        f"{PAYMENT.format(invoice=2, amount=1, reference='')};"
        " UPDATE payment SET taken_back_at = now()"
    ],
    "payments_stay_within_their_invoice": [
        PAYMENT.format(invoice=2, amount=49.91, reference=""),
        PAYMENT.format(invoice=2, amount=-1, reference=""),
        PAYMENT.format(invoice=1, amount=1, reference=""),
    ],
    "payment_is_never_rewritten": [
        f"{PAYMENT.format(invoice=2, amount=1, reference='')}; UPDATE payment SET amount = 2",
        "DELETE FROM payment",
    ],
    "invoice_is_paid_on_a_day": [
        "UPDATE invoice SET status = 'paid' WHERE id = 2",
        "UPDATE invoice SET paid_on = now() WHERE id = 1",
    ],
    "credit_note_is_never_voided": [
        "INSERT INTO invoice (organization_id, month, currency, kind, status)"
        " VALUES (1, '2026-05-01', 'EUR', 'credit_note', 'void')"
    ],
    "credit_line_names_the_line_it_credits": [
        LINE.replace("'extension'", "'credit'")
        .replace("amount)\n", "amount, credits_line_id)\n")
        .replace("{amount})", "{amount}, 2)")
        .format(invoice=1, price=-10, amount=-10)
    ],
    "cancelled_out_comes_to_nothing": [
        "INSERT INTO charge_cancelled_out VALUES (2)",
        "INSERT INTO charge_cancelled_out VALUES (1)",
    ],
    "invoice_is_voided_for_a_reason": [
        "UPDATE invoice SET status = 'void', voided_at = now() WHERE id = 2"
    ],
    "invoice_has_one_draft": [
        "INSERT INTO invoice (organization_id, month, currency) VALUES (1, '2026-03-01', 'EUR')"
    ],
    "finalized_invoice_never_changes": [
        "UPDATE invoice SET total = 0, subtotal = 0 WHERE id = 2",
        "UPDATE invoice SET status = 'draft', year = NULL, serial = NULL, due_on = NULL,"
        " finalized_at = NULL WHERE id = 2",
        "UPDATE invoice SET month = '2026-04-01' WHERE id = 1",
        "DELETE FROM invoice",
        "UPDATE invoice_line SET quantity = 2, amount = 99.80 WHERE id = 2",
        "UPDATE invoice_line SET invoice_id = 1 WHERE id = 2",
        "DELETE FROM invoice_line",
        LINE.format(invoice=2, price=10, amount=10),
        "UPDATE invoice_share SET quantity = 2 WHERE line_id = 2",
        "UPDATE invoice_share SET learner_organization_id = 2 WHERE line_id = 1",
        "DELETE FROM invoice_share",
        SHARE.format(invoice=2, line=2),
        TAX.format(invoice=2),
        "DELETE FROM invoice_tax",
        "DELETE FROM invoice_charge",
    ],
    "charge_is_owed_and_credit_is_given_back": [
        charge(amount="-1"),
        charge("credit", credits="2", amount="1", why="'goodwill'"),
    ],
    "charge_is_in_the_minor_unit": [charge(amount="1.001"), charge(amount="1.5", currency="JPY")],
    "credit_names_the_charge_it_undoes": [
        charge("credit", amount="-1", why="'goodwill'"),
        charge(credits="2"),
    ],
    "credit_has_a_reason": [charge("credit", credits="2", amount="-1")],
    "credits_stay_within_their_charge": [
        charge("credit", credits="2", amount="-10.01", why="'goodwill'"),
        charge("credit", credits="3", amount="-1", why="'another currency'"),
        charge("credit", credits="2", amount="-6", why="'once'")
        + ";"
        + charge("credit", credits="2", amount="-6", why="'twice'"),
    ],
    "charge_is_owed_by_its_pools_owner": [
        charge().replace("1, 1, 1, 1, 1", "2, 1, 1, 1, 1"),
        charge().replace("1, 1, 1, 1, 1", "1, 1, 2, 1, 1"),
        charge().replace("1, 1, 1, 1, 1", "1, 1, 1, 9, 1"),
    ],
    "charge_has_a_tax_rate_of_its_owner": [
        charge().replace("reason)", "reason, tax_rate_id)").replace("NULL)", "NULL, 3)")
    ],
    "assignment_is_charged_once": [charge("redemption")],
    "charge_is_never_rewritten": [
        "UPDATE charge SET amount = 1",
        "UPDATE charge SET unbilled = true",
        "DELETE FROM charge_cancelled_out",
        "DELETE FROM charge",
    ],
    "invoice_line_is_one_of_its_kind": [LINE.format(invoice=1, price=10, amount=10)],
    "invoice_line_adds_up": [LINE.format(invoice=1, price=11, amount=10)],
    "invoice_is_taxed_once_a_rate": [TAX.format(invoice=1) + ";" + TAX.format(invoice=1)],
    "invoice_share_is_of_its_invoices_line": [SHARE.format(invoice=1, line=2)],
    "invoice_share_counts_charges": ["UPDATE invoice_share SET quantity = 0 WHERE line_id = 1"],
    "invoice_charge_is_on_its_invoices_line": [
        "INSERT INTO invoice_charge (invoice_id, charge_id, line_id) VALUES (1, 2, 2)"
    ],
    "draft_gathers_its_own_unbilled_charges": [
        "INSERT INTO invoice_charge (invoice_id, charge_id, line_id) VALUES (1, 3, 1)",
        "INSERT INTO invoice_charge (invoice_id, charge_id, line_id) VALUES (2, 2, 2)",
    ],
    "charge_is_billed_once": [
        "INSERT INTO invoice_charge (invoice_id, charge_id, line_id) VALUES (1, 1, 1)"
    ],
    "void_invoice_releases_its_charges": ["UPDATE invoice_charge SET released_at = now()"],
    # The lake
    "lake_is_one": ["INSERT INTO lake VALUES (false, '2026-01-01', '2026-01-01')"],
    "lake_announces_before_it_writes": [
        "INSERT INTO lake VALUES (true, '2026-01-01', '2026-02-01')"
    ],
    "lake_month_begins_on_its_first_day": [
        "INSERT INTO lake_month VALUES (1, '2026-01-02', gen_random_uuid())"
    ],
    "lake_labels_are_numbered_once": [
        "INSERT INTO lake_labels (organization_id, labels) VALUES (1, '{a}'), (1, '{a}')"
    ],
    # The history
    "history_is_never_rewritten": [
        "UPDATE history SET action = 'nothing'",
        "DELETE FROM history",
        "TRUNCATE history",
        "SET LOCAL keypool.erasing = 'on'; UPDATE history SET action = 'nothing'",
        "SET LOCAL keypool.erasing = 'on'; DELETE FROM history",
    ],
}

# Rules that only give another rule something to hold on to.
IMPLIED = {
    "invoice_line_belongs_to_its_invoice",
    "pool_is_for_one_course",
    "pool_is_for_one_course_and_one_owner",
    "tax_rate_is_of_its_organization",
}


@pytest.fixture
def world(database: Addresses) -> Iterator[psycopg.Connection]:
    """The world above, gone after the test."""
    with connect(database.database_url) as connection:
        connection.execute(WORLD)
        yield connection
        connection.rollback()


def broken(connection: psycopg.Connection, sql: str) -> str | None:
    """The name of the rule that refuses a statement; None: it is done."""
    try:
        with connection.transaction():
            connection.execute(sql)
    except psycopg.errors.IntegrityError as refused:
        return refused.diag.constraint_name
    return None


CASES = [(rule, sql) for rule, refused in REFUSED.items() for sql in refused]


@pytest.mark.parametrize(("rule", "sql"), CASES, ids=[rule for rule, _ in CASES])
def test_a_rule_refuses_by_its_name(world, rule, sql):
    assert broken(world, sql) == rule


def test_every_rule_has_something_that_it_refuses(world):
    named = world.execute("""
        SELECT conname FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'u', 'x')
        UNION SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
         WHERE relnamespace = 'public'::regnamespace AND indisunique AND NOT indisprimary
        UNION SELECT conname FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND contype = 'f' AND conname !~ '_fkey$'
    """)
    raised = re.findall(r"CONSTRAINT = '(\w+)'", schema.SCHEMA.read_text())

    assert {*(name for (name,) in named), *raised} == REFUSED.keys() | IMPLIED


def test_an_attempt_is_of_an_organization_and_a_pool_that_are_there(world):
    attempt = REDEMPTION.format(key=2, pool=1, assignment="NULL", outcome="key_retired")
    nowhere = REDEMPTION.format(key=2, pool=9, assignment="NULL", outcome="key_retired")
    nobodys = attempt.replace("(2, 1,", "(2, 99,")

    assert broken(world, nowhere) == "attempt_tally_pool_id_fkey"
    assert broken(world, nobodys) == "attempt_tally_organization_id_fkey"
    assert broken(world, attempt) is None


# The tree of organizations

ANCESTRY = "SELECT ancestor_id, descendant_id, distance FROM organization_ancestry ORDER BY 1, 2"
CLIMBED = """
    WITH RECURSIVE line AS (
        SELECT id AS ancestor, id AS descendant, 0 AS distance FROM organization
        UNION ALL
        SELECT parent_id, descendant, distance + 1
          FROM line JOIN organization ON organization.id = ancestor WHERE parent_id IS NOT NULL)
    SELECT ancestor, descendant, distance FROM line ORDER BY 1, 2
"""
MOVE = Template("UPDATE organization SET parent_id = $parent WHERE id = $child")


def test_a_subtree_moves_with_its_root(world):
    world.execute(MOVE.substitute(child=1, parent=3))

    told = world.execute(ANCESTRY).fetchall()

    assert told == [(1, 1, 0), (1, 2, 1), (2, 2, 0), (3, 1, 1), (3, 2, 2), (3, 3, 0)]


@pytest.mark.parametrize("seed", range(3))
def test_the_ancestry_is_what_climbing_the_tree_gives_after_any_moves(world, seed):
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    world.execute("INSERT INTO organization (name) SELECT 'No. ' || n FROM generate_series(1, 9) n")
    ids = [id_ for (id_,) in world.execute("SELECT id FROM organization ORDER BY id")]

    refusals = {
        broken(world, MOVE.substitute(child=child, parent=parent))
        for child in chance.choices(ids, k=80)
        for parent in [chance.choice([*ids, "NULL"])]
        if child != parent
    }

    assert refusals == {None, "organizations_form_a_tree"}
    assert world.execute(ANCESTRY).fetchall() == world.execute(CLIMBED).fetchall()


# Many at once


@pytest.fixture
def at_once(fresh_database: Addresses) -> Callable[..., list[str]]:
    """Run statements at the same time, each in a transaction of its own; give who refused them."""
    with connect(fresh_database.database_url) as connection:
        connection.execute(WORLD)

    def run(*statements: str) -> list[str]:
        start = threading.Barrier(len(statements))

        def attempt(sql: str) -> str:
            with connect(fresh_database.database_url) as connection:
                start.wait()
                return broken(connection, sql + "; SELECT pg_sleep(0.05)") or "done"

        with ThreadPoolExecutor(len(statements)) as threads:
            return sorted(threads.map(attempt, statements))

    return run


def test_two_moves_at_once_close_no_circle(at_once):
    outcomes = at_once(MOVE.substitute(child=1, parent=3), MOVE.substitute(child=3, parent=1))

    assert outcomes == ["done", "organizations_form_a_tree"]


def test_credits_given_at_once_stay_within_their_charge(at_once):
    credit = charge("credit", credits="2", amount="-3", why="'goodwill'")

    outcomes = at_once(*[credit] * 6)

    assert outcomes == ["credits_stay_within_their_charge"] * 3 + ["done"] * 3


def test_a_key_is_spent_once_however_many_race_for_it(at_once):
    racers = [ASSIGNMENT.format(key=2, learner=2, expires="2026-08-01")] * 6

    outcomes = at_once(*racers)

    assert outcomes.count("done") == 1
    assert {*outcomes} == {"done", "key_is_spent_once"}


# What the rules allow


def test_a_key_whose_assignment_was_undone_can_be_spent_again(world):
    world.execute("UPDATE assignment SET status = 'cancelled', cancelled_at = now(), undone = true")

    assert broken(world, ASSIGNMENT.format(key=1, learner=1, expires="2026-08-01")) is None


def test_a_price_has_the_decimals_of_its_currency(world):
    prices = """
        INSERT INTO price (course_id, organization_id, amount, currency, valid_from)
        VALUES (1, NULL, 1.01, 'EUR', '2026-01-01 00:00:01Z'), (1, NULL, 1000, 'JPY', '2027-01-01'),
               (1, NULL, 1.001, 'KWD', '2028-01-01'), (1, 1, 0, 'EUR', '2026-01-01')
    """

    assert broken(world, prices) is None


def test_erasing_a_person_changes_what_the_history_calls_them(world):
    world.execute("SET LOCAL keypool.erasing = 'on'")

    world.execute("""UPDATE history SET actor = 'somebody', detail = '{"name": "erased"}'""")

    assert world.execute("SELECT actor, action FROM history").fetchall() == [("somebody", "built")]


# A key's pool


def test_a_key_cannot_be_in_a_pool_that_is_not_there(world):
    assert broken(world, "INSERT INTO key (pool_id, code) VALUES (99, 'AAAA-0009')") == KEEPER
    assert broken(world, "UPDATE key SET pool_id = 99") == KEEPER


def test_a_pool_with_keys_cannot_be_deleted(world):
    world.execute(POOL.format(course=1))
    world.execute("INSERT INTO key (pool_id, code) SELECT max(id), 'AAAA-0009' FROM pool")

    assert broken(world, "DELETE FROM pool WHERE id > 1") == KEEPER


# A pool's figures

# The tally's foreign key keeps the keys' pools too.
KEEPER = "pool_tally_pool_id_fkey"
TALLIED = """
    SELECT pool.id, coalesce(sum(issued), 0), coalesce(sum(distributed), 0),
           coalesce(sum(redeemed), 0), coalesce(sum(retired), 0)
      FROM pool LEFT JOIN pool_tally ON pool_id = pool.id GROUP BY pool.id ORDER BY pool.id
"""
COUNTED = """
    SELECT pool.id, count(*) FILTER (WHERE state = 'issued'),
           count(*) FILTER (WHERE state = 'issued' AND distribution_id IS NOT NULL),
           count(*) FILTER (WHERE state = 'redeemed'), count(*) FILTER (WHERE state = 'retired')
      FROM pool LEFT JOIN key ON pool_id = pool.id GROUP BY pool.id ORDER BY pool.id
"""
ADD = Template("""
    INSERT INTO key (pool_id, code, state)
    SELECT $pool, 'ROUND-$round-' || n, '$state' FROM generate_series(1, $count) AS n
""")
CHANGES = [
    "state = (ARRAY['issued', 'redeemed', 'retired'])[1 + (id + $count) % 3]::key_state",
    "distribution_id = CASE WHEN distribution_id IS NULL THEN (SELECT id FROM distribution) END",
    "state = '$state', distribution_id = (SELECT id FROM distribution), pool_id = $pool",
    "state = '$state', distribution_id = NULL",
    "pool_id = $pool",
]


@pytest.mark.parametrize("seed", range(5))
def test_a_pools_figures_are_what_a_recount_gives(world, seed):
    chance = random.Random(seed)  # noqa: S311  # repeatable, not secret
    world.execute(POOL.format(course=1))
    pools = [id_ for (id_,) in world.execute("SELECT id FROM pool")]

    for round_ in range(1000, 1012):
        drawn = {
            "round": round_,
            "pool": chance.choice(pools),
            "state": chance.choice(["issued", "redeemed", "retired"]),
            "count": chance.randint(0, 20),
        }
        world.execute(ADD.substitute(drawn))
        change = Template(chance.choice(CHANGES)).substitute(drawn)
        world.execute(f"UPDATE key SET {change} WHERE id % {chance.randint(1, 4)} = 0")

    assert world.execute(TALLIED).fetchall() == world.execute(COUNTED).fetchall()
