"""The walls between organizations hold by themselves, whatever SQL is run behind them."""

import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import date

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url

from tests.conftest import Addresses, connect
from worker.redemption import deciding
from worker.tenancy import web_keys

# Berlin (1) with its child Kreuzberg (2), and Paris (3): each has one of everything, and Paris's
# learner tried Berlin's key.
WORLD = """
SELECT setval(pg_get_serial_sequence(table_name, 'id'), 1000) FROM information_schema.columns
 WHERE table_schema = 'public' AND is_identity = 'YES';
CREATE TEMP TABLE town AS
SELECT * FROM (VALUES (1, 'Berlin', NULL), (2, 'Kreuzberg', 1), (3, 'Paris', NULL))
           AS town (id, name, parent_id);

INSERT INTO organization (id, name, parent_id) OVERRIDING SYSTEM VALUE TABLE town;
INSERT INTO course (id, code, title) OVERRIDING SYSTEM VALUE VALUES (1, 'K8S-101', 'Kubernetes');
INSERT INTO price (course_id, amount, currency, valid_from) VALUES (1, 49, 'EUR', '2026-01-01');
INSERT INTO price (course_id, organization_id, amount, currency, valid_from)
SELECT 1, id, 40 + id, 'EUR', '2026-01-01' FROM town;
INSERT INTO tax_rate (organization_id, percent, valid_from) SELECT id, 19, '2026-01-01' FROM town;
INSERT INTO pool (id, organization_id, course_id, name, starts_at, expires_at,
                  content_availability_days) OVERRIDING SYSTEM VALUE
SELECT id, id, 1, name || ' pool', '2026-01-01', '2027-01-01', 180 FROM town;
INSERT INTO distribution (id, pool_id, recipient) OVERRIDING SYSTEM VALUE
SELECT id, id, 'desk@' || name FROM town;
INSERT INTO distribution_tally SELECT id, 0, 0, 0 FROM town;
INSERT INTO pool_unusual (pool_id, rule, seen, usual, most) SELECT id, 'sudden_pace', 30, 2, 5 FROM town;
INSERT INTO key (id, pool_id, distribution_id, code, state, labels) OVERRIDING SYSTEM VALUE
SELECT id, id, id, 'TOWN-000' || id, 'redeemed', ARRAY[name] FROM town;
INSERT INTO batch (id, pool_id, kind, requested) OVERRIDING SYSTEM VALUE
SELECT id, id, 'import', 1 FROM town;
INSERT INTO batch_chunk (batch_id, position, size, last_line, lines, codes)
SELECT id, 0, 1, 1, '{1}', ARRAY['TOWN-000' || id] FROM town;
INSERT INTO batch_line (batch_id, line, code, result)
SELECT id, 1, 'TOWN-000' || id, 'already_exists' FROM town;
INSERT INTO token (organization_id, name, role, hash)
SELECT id, name, 'manager', name::bytea FROM town;
INSERT INTO answer (token_id, key, request) SELECT id, name, 'abc' FROM token;
INSERT INTO token (name, role, hash) VALUES ('first', 'operator', 'operator');
INSERT INTO console_user (organization_id, email, role, password_hash)
SELECT id, 'boss@' || name, 'manager', '$argon2id$' FROM town;
INSERT INTO identity_provider (id, organization_id, issuer, client_id, secret_encrypted)
OVERRIDING SYSTEM VALUE SELECT id, id, 'https://' || name, name, name::bytea FROM town;
INSERT INTO identity_domain SELECT lower(name) || '.example', id FROM town;
INSERT INTO recovery_code (user_id, hash) SELECT id, email::bytea FROM console_user;
INSERT INTO sign_in_link (user_id, hash, ends_at) SELECT id, email::bytea, '2027-01-01' FROM console_user;
INSERT INTO console_session (user_id, hash, device, client, ends_at)
SELECT id, email::bytea, 'abc', '192.0.2.0/24', '2027-01-01' FROM console_user;
INSERT INTO source (id, organization_id, name) OVERRIDING SYSTEM VALUE SELECT id, id, name FROM town;
INSERT INTO source_secret (source_id, encrypted) SELECT id, name::bytea FROM town;
INSERT INTO learner (id, organization_id, email) OVERRIDING SYSTEM VALUE
SELECT id, id, 'ann@' || name FROM town;
INSERT INTO assignment (id, key_id, pool_id, course_id, learner_id, organization_id, redeemed_at,
                        expires_at) OVERRIDING SYSTEM VALUE
SELECT id, id, id, 1, id, id, '2026-02-01', '2026-08-01' FROM town;
INSERT INTO event (id, source_id, organization_id, learner_organization_id, webhook_id, body_hash,
                   type) OVERRIDING SYSTEM VALUE
SELECT id, owner, owner, owner, 'msg ' || id, 'abc', 'redemption.requested'
  FROM (SELECT id, id AS owner FROM town UNION ALL VALUES (4, 3)) AS message;
INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email, key_id,
                        pool_id, assignment_id, outcome, received_at)
SELECT id, id, id, 'ann@' || name, id, id, id, 'redeemed'::redemption_outcome, '2026-02-01'::date
  FROM town
UNION ALL SELECT 4, 1, 3, 'ann@Paris', 1, 1, NULL, 'not_available_to_organization', '2026-02-02';
INSERT INTO launch (assignment_id, organization_id, launch, launched_at)
SELECT id, id, name, '2026-02-02' FROM town;
INSERT INTO charge (id, kind, organization_id, learner_organization_id, course_id, pool_id,
                    assignment_id, amount, currency, occurred_at) OVERRIDING SYSTEM VALUE
SELECT id, 'redemption', id, id, 1, id, id, 49, 'EUR', '2026-02-01' FROM town;
INSERT INTO invoice (id, organization_id, month, currency) OVERRIDING SYSTEM VALUE
SELECT id, id, '2026-02-01', 'EUR' FROM town;
INSERT INTO invoice_line (id, invoice_id, course_id, pool_id, kind, service_month, unit_price,
                          quantity, amount) OVERRIDING SYSTEM VALUE
SELECT id, id, 1, id, 'redemption', '2026-02-01', 49, 1, 49 FROM town;
INSERT INTO invoice_share (invoice_id, line_id, learner_organization_id, quantity)
SELECT id, id, id, 1 FROM town;
INSERT INTO invoice_tax (invoice_id, subtotal, tax) SELECT id, 49, 0 FROM town;
ALTER TABLE charge_cancelled_out DISABLE TRIGGER cancelled_out_comes_to_nothing;
INSERT INTO charge_cancelled_out (charge_id) SELECT id FROM town;
ALTER TABLE charge_cancelled_out ENABLE TRIGGER cancelled_out_comes_to_nothing;
INSERT INTO invoice_charge (invoice_id, charge_id, line_id) SELECT id, id, id FROM town;
INSERT INTO invoice_serial VALUES (2026, 0, '2026-01-01');
INSERT INTO invoice (id, organization_id, month, currency, status, year, serial, finalized_at, issued_on,
                     due_on, seller, buyer) OVERRIDING SYSTEM VALUE
SELECT 10 + id, id, '2026-01-01', 'EUR', 'finalized', 2026, id, '2026-02-03', '2026-02-03', '2026-03-05',
       '{}', '{}' FROM town;
ALTER TABLE payment DISABLE TRIGGER payments_stay_within_their_invoice;
INSERT INTO payment (invoice_id, paid_on, amount) SELECT id, '2026-03-05', 1 FROM town;
ALTER TABLE payment ENABLE TRIGGER payments_stay_within_their_invoice;
INSERT INTO key_replacement (old_key_id, new_key_id, distribution_id, reason)
SELECT id, id % 3 + 1, id, 'Torn' FROM town;
INSERT INTO history (actor, organization_id, action, thing, thing_id)
SELECT 'test', id, 'founded', 'organization', id FROM town
UNION ALL SELECT 'test', id, 'pool paused', 'pool', id FROM town
UNION ALL SELECT 'test', id, 'pool resumed', 'pool', id FROM town;
INSERT INTO report_run (organization_id, notebook, first_day, last_day, asked_by)
SELECT id, 'usage', '2026-01-01', '2026-01-31', 'test' FROM town;
INSERT INTO report_schedule (organization_id, notebook, every, asked_by)
SELECT id, 'usage', 'week', 'test' FROM town;
INSERT INTO endpoint (id, organization_id, url, types) OVERRIDING SYSTEM VALUE
SELECT id, id, 'https://' || name, '{pool.low}' FROM town;
INSERT INTO endpoint_secret (endpoint_id, encrypted) SELECT id, name::bytea FROM town;
INSERT INTO delivery (endpoint_id, type, data)
SELECT id, 'pool.low', jsonb_build_object('name', name) FROM town;
INSERT INTO mail_template (organization_id, name, subject, body)
SELECT id, 'Welcome', 'Your key', '{{ keys }}' FROM town;
INSERT INTO message (organization_id, distribution_id, kind, recipient, data)
SELECT id, id, 'keys', 'ann@' || name, '{}' FROM town;
INSERT INTO organization_logo (organization_id, content, width, height)
SELECT id, '\\x89504e470d0a1a0a'::bytea || name::bytea, 1, 1 FROM town;
INSERT INTO reminder (organization_id, kind, threshold, looked_to) SELECT id, 'pool_low', 5, now() FROM town;
INSERT INTO unsubscribed (organization_id, address) SELECT id, lower('ann@' || name) FROM town;
INSERT INTO bulk_act (id, organization_id, actor, role, act, how, asked_as) OVERRIDING SYSTEM VALUE
SELECT id, id, 'test', 'manager', 'extend', '{}', name FROM town;
INSERT INTO bulk_act_row (act_id, nth, thing_id) SELECT id, 1, id FROM town;
INSERT INTO pool_turn SELECT id FROM town ON CONFLICT DO NOTHING;
DROP TABLE town;
"""

# Whose a row is, by table. A new table is placed here or below, or the tests fail.
OWNER = {
    "organization": "id",
    "organization_ancestry": "descendant_id",
    "tax_rate": "organization_id",
    "organization_logo": "organization_id",
    "reminder": "organization_id",
    "unsubscribed": "organization_id",
    "pool_turn": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "pool": "organization_id",
    "key": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "key_replacement": "(SELECT organization_id FROM pool JOIN key ON pool.id = pool_id"
    " WHERE key.id = old_key_id)",
    "pool_tally": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "label_tally": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "pool_charged": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "pool_growth": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "pool_unusual": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "distribution_tally": "(SELECT organization_id FROM pool JOIN distribution ON pool.id = pool_id"
    " WHERE distribution.id = distribution_id)",
    "distribution": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "batch": "(SELECT organization_id FROM pool WHERE pool.id = pool_id)",
    "batch_chunk": "(SELECT organization_id FROM pool JOIN batch ON pool.id = pool_id"
    " WHERE batch.id = batch_id)",
    "batch_line": "(SELECT organization_id FROM pool JOIN batch ON pool.id = pool_id"
    " WHERE batch.id = batch_id)",
    "token": "organization_id",
    "answer": "(SELECT organization_id FROM token WHERE token.id = token_id)",
    "console_user": "organization_id",
    "identity_provider": "organization_id",
    "identity_domain": "(SELECT organization_id FROM identity_provider"
    " WHERE identity_provider.id = provider_id)",
    "recovery_code": "(SELECT organization_id FROM console_user WHERE console_user.id = user_id)",
    "sign_in_link": "(SELECT organization_id FROM console_user WHERE console_user.id = user_id)",
    "console_session": "(SELECT organization_id FROM console_user WHERE console_user.id = user_id)",
    "source": "organization_id",
    "source_secret": "(SELECT organization_id FROM source WHERE source.id = source_id)",
    "learner": "organization_id",
    "assignment": "organization_id",
    "event": "organization_id",
    "redemption": "organization_id",
    "attempt_tally": "organization_id",
    "launch": "organization_id",
    "charge": "organization_id",
    "invoice": "organization_id",
    "payment": "(SELECT organization_id FROM invoice WHERE invoice.id = invoice_id)",
    "invoice_line": "(SELECT organization_id FROM invoice WHERE invoice.id = invoice_id)",
    "invoice_share": "(SELECT organization_id FROM invoice WHERE invoice.id = invoice_id)",
    "charge_cancelled_out": "(SELECT organization_id FROM charge WHERE charge.id = charge_id)",
    "invoice_tax": "(SELECT organization_id FROM invoice WHERE invoice.id = invoice_id)",
    "invoice_charge": "(SELECT organization_id FROM invoice WHERE invoice.id = invoice_id)",
    "report_run": "organization_id",
    "report_schedule": "organization_id",
    "history": "organization_id",
    "message": "organization_id",
    "mail_template": "organization_id",
    "bulk_act": "organization_id",
    "bulk_act_row": "(SELECT organization_id FROM bulk_act WHERE bulk_act.id = act_id)",
    "endpoint": "organization_id",
    "endpoint_secret": "(SELECT organization_id FROM endpoint WHERE endpoint.id = endpoint_id)",
    "delivery": "(SELECT organization_id FROM endpoint WHERE endpoint.id = endpoint_id)",
}
EVERYBODYS = {
    "course",
    "seller",
    "seller_bank",
    "price",
}  # of prices, those that hold for the reader
PUBLIC_KNOWLEDGE = {"currency"}  # no walls at all
OPERATORS = {"invoice_serial", "journal_export", "schedule_beat", "audit_run", "first_start"}
WORKERS = {
    "sign_in_throttle",
    "wall",
    "web_key",
    "lock",
    "tree_lock",
    "settler",
    "pool_shortage",
    "token_network",
    "identity_request",
    "settlement",
    "schedule_run",
    "schedule_job",
    "mail_server",
    "page_session",
    "report_login",
    "alembic_version",
    "pool_alert",
    "lake",
    "lake_month",
    "lake_change",
    "lake_labels",
    "lake_pool",
}

# What may be called with the owner's rights, by whom.
DOORS = {
    "keypool_web": {
        "find_source(bigint)",
        "guessing_pause(bigint,text,interval,bigint,bigint)",
        "await_lock(text,boolean)",
        "await_settlers(bigint[])",
        "decided_events(bigint[])",
        "labelled_figures()",
        "sender_of(bigint,bytea)",
        "shared_pool(bigint)",
        "shared_redemption(bigint,bigint)",
        "unsubscribe(bigint,bytea)",
        "enter_page(bigint,bytea)",
        "enter_session(bytea,interval)",
        "enter_source(bigint,bytea)",
        "enter_token(bytea)",
        "figures()",
        "is_charge_of(bigint,bigint)",
        "is_event_of(bigint,bigint,bigint)",
        "is_sealed(text)",
        "standstill()",
        "recent_outcomes(bigint)",
        "known_keys(bigint,text[])",
        "count_keys_of_others(bigint,text[])",
        "limit_of_attempt(bigint)",
        "find_token(bytea,text)",
        "note_token(bytea,text)",
        "password_salt(text,text,bytea)",
        "knows_device(text,bytea)",
        "remember_locked(text,text,bytea)",
        "begin_session(text,text,bytea,bytea,text,text,interval,bytea)",
        "resume_session(bytea,interval,boolean)",
        "confirm_session(bytea,text,text,text,bytea)",
        "end_session(bytea)",
        "sealed_second_factor(bytea)",
        "set_up_second_factor(bytea,bytea,bigint,bytea)",
        "give_second_factor(bytea,bigint,bytea,bytea)",
        "remove_second_factor(bigint)",
        "throttle_sign_in(bytea,integer,interval,interval)",
        "forgive_sign_ins(bytea[],bytea)",
        "uncount_sign_in(bytea,bytea)",
        "page_of_slug(text)",
        "page_of_key(text,bytea)",
        "page_source(bigint)",
        "begin_page_session(bytea,bigint,text,bytea,text,bytea,boolean,boolean,bigint,bigint,bytea)",
        "find_page_session(bytea)",
        "try_page_code(bytea)",
        "prove_page_session(bytea,bytea)",
        "note_page_key(bytea,bigint,bigint,text,bytea)",
        "end_page_session(bytea)",
        "forget_page_sessions(text,bigint[])",
        "page_sessions_of(text[])",
        "find_sign_in_link(bytea)",
        "mail_sign_in_link(text,text,integer,bytea)",
        "find_identity_provider(text)",
        "ask_identity_provider(bigint,bytea,text,text,interval)",
        "take_identity_request(bytea)",
        "begin_vouched_session(bigint,text,text,role,bytea,bytea,text,text,interval,bytea)",
        "knows_web(bytea)",
        "use_sign_in_link(bytea,text)",
        "somebody_can_sign_in()",
        "first_start_holds(bytea)",
        "make_first_operator(bytea,text,text)",
        "report.price_now(bigint,bigint)",
        "report.visible_organization()",
        "schema_revision()",
        "visible_organization()",
    },
    "keypool_analyst": {"report.price_now(bigint,bigint)", "report.visible_organization()"},
}


@pytest.fixture(scope="module")
def towns(database: Addresses) -> Addresses:
    """The world, where every login may make temporary tables besides: the walls hold even so."""
    name = Identifier(make_url(database.database_url).database or "")
    with connect(database.database_url) as owner:
        owner.execute(WORLD)
        owner.execute(SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(name))
    return database


@pytest.fixture
def owner(towns: Addresses) -> Iterator[psycopg.Connection]:
    with connect(towns.database_url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def web(towns: Addresses) -> Iterator[psycopg.Connection]:
    with connect(towns.web_database_url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def analyst(towns: Addresses) -> Iterator[psycopg.Connection]:
    with connect(towns.analyst_database_url) as connection:
        yield connection
        connection.rollback()


def see(connection: psycopg.Connection, organization: object) -> None:
    """Enter with the token of an organization, or * the operator's."""
    hashed = {1: b"Berlin", 2: b"Kreuzberg", 3: b"Paris", "*": b"operator"}[organization]
    connection.execute("SELECT enter_token(%s)", [hashed])


def rows(connection: psycopg.Connection, table: str, where: str = "true") -> set[str]:
    """Give rows without the columns that the web may not read; of a table that it may not, all."""
    readable = connection.execute(
        """SELECT coalesce(string_agg('row.' || quote_ident(attname), ', ' ORDER BY attnum), 'row.*')
             FROM pg_attribute
            WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
              AND has_column_privilege('keypool_web', attrelid, attnum, 'SELECT')""",
        [table],
    ).fetchone()[0]
    told = connection.execute(f"SELECT ROW({readable})::text FROM {table} AS row WHERE {where}")
    return {row for (row,) in told}


def names(connection: psycopg.Connection, query: str) -> set[str]:
    return {name for (name,) in connection.execute(query)}


TABLES = """
    SELECT oid::regclass::text FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""


# The web


def test_every_table_has_its_place(owner):
    placed = OWNER.keys() | EVERYBODYS | PUBLIC_KNOWLEDGE | OPERATORS | WORKERS

    assert names(owner, TABLES) == placed


def test_every_table_has_its_walls(owner):
    walled = names(owner, f"{TABLES} AND relrowsecurity")

    assert names(owner, TABLES) - walled == PUBLIC_KNOWLEDGE | {"alembic_version"}


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("console_user", "password_hash"),
        ("token", "hash"),
        ("console_session", "hash"),
        ("console_session", "device"),
        ("sign_in_link", "hash"),
        ("first_start", "hash"),
        ("recovery_code", "hash"),
        ("console_user", "totp_encrypted"),
        ("console_user", "totp_step"),
    ],
)
def test_sql_as_the_webs_login_reads_no_hash_by_which_somebody_is_known(web, table, column):
    for query in (
        f"SELECT {column} FROM {table}",
        f"SELECT row::text FROM {table} AS row",
        f"SELECT FROM {table} WHERE {column} IS NOT NULL",
        f"UPDATE {table} SET {column} = {column}",
        f"SELECT FROM {table} ORDER BY {column}",
    ):
        see(web, "*")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            web.execute(query)
        web.rollback()


def test_a_tenant_neither_sees_nor_sends_a_mail_in_the_sellers_name(web):
    mail = "INSERT INTO message (kind, recipient, data) VALUES ('reset', 'op@example.com', '{}')"
    see(web, "*")
    web.execute(mail)
    seen = len(rows(web, "message", "organization_id IS NULL"))
    see(web, 1)
    unseen = len(rows(web, "message", "organization_id IS NULL"))

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        web.execute(mail)

    assert (seen, unseen) == (1, 0)


FORGED = {
    "nothing": "SELECT 1",
    "an older version's setting": "SET LOCAL keypool.organization = '*'",
    "no seal": "SET LOCAL keypool.entered = 'person * x'",
    "an empty seal": "SET LOCAL keypool.entered = ' person * x'",
    "a seal of one's own": "SELECT set_config('keypool.entered', encode(sha256('person * x'), 'hex')"
    " || ' person * x', true)",
    "nobody's token": "SELECT enter_token('Rome')",
    "nobody's session": "SELECT enter_session('x', interval '1 year')",
}


@pytest.mark.parametrize("sql", FORGED.values(), ids=FORGED)
def test_the_web_sees_nothing_unless_it_has_entered(web, sql):
    web.execute(sql)

    assert {table for table in OWNER if rows(web, table)} == set()


OPENED = {
    "another organization": "SELECT set_config('keypool.entered', regexp_replace("
    "current_setting('keypool.entered'), 'person 1 ', 'person 3 '), true)",
    "everything": "SELECT set_config('keypool.entered', regexp_replace("
    "current_setting('keypool.entered'), 'person 1 ', 'person * '), true)",
    "another actor": "SELECT set_config('keypool.entered', current_setting('keypool.entered') || 'x', true)",
}


@pytest.mark.parametrize("sql", OPENED.values(), ids=OPENED)
def test_whoever_has_entered_is_nobody_after_claiming_more(web, sql):
    see(web, 1)
    web.execute(sql)

    assert {table for table in OWNER if rows(web, table)} == set()


def test_a_seal_is_good_for_its_transaction_alone(web):
    see(web, "*")
    sealed = web.execute("SELECT current_setting('keypool.entered')").fetchone()[0]
    web.commit()
    web.execute("SELECT set_config('keypool.entered', %s, true)", [sealed])

    assert rows(web, "organization") == set()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT enter('person', '*', 'x')",
        "SELECT seal_of('person * x')",
        "SELECT entered_organization()",
        "SELECT * FROM wall",
        "SELECT * FROM web_key",
        "SELECT require_proof('', 'source', '1')",
    ],
)
def test_nobody_but_what_authenticates_can_seal(web, sql):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        web.execute(sql)


def test_a_web_enters_as_no_source_or_page_that_there_is_none_of(web):
    web.execute("SELECT enter_source(999, %s)", [web_keys.proofs("source", 999)])
    web.execute("SELECT enter_page(1, %s)", [web_keys.proofs("page", 1)])  # it is off

    assert {table for table in OWNER if rows(web, table)} == set()


TALLIES = {"pool_tally", "label_tally", "pool_charged", "pool_growth", "distribution_tally"}
DOORS_SEE = {
    "organization",
    "organization_logo",
    "organization_ancestry",
    "source",
    "event",
    "learner",
    "assignment",
}


def test_a_door_that_knows_nobody_sees_little_of_its_organization_and_nothing_of_others(owner, web):
    web.execute("SELECT enter_source(1, %s)", [web_keys.proofs("source", 1)])

    seen = {table for table in OWNER if rows(web, table)}

    assert seen - {"redemption", "launch", *TALLIES} == DOORS_SEE
    assert rows(web, "event") == rows(owner, "event", "organization_id IN (1, 2)")


def test_the_historys_actor_is_who_entered(web):
    act = "INSERT INTO history (actor, organization_id, action, thing, thing_id) VALUES (%s, 1, 'x', 'pool', 1)"
    see(web, 1)
    mine = web.execute("SELECT entered_actor()").fetchone()[0]

    web.execute(act, [mine])

    assert mine.endswith(" (Berlin)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        web.execute(act, ["user boss@Berlin"])


@pytest.mark.parametrize("table", OWNER)
@pytest.mark.parametrize(("organization", "tree"), [(1, "1, 2"), (2, "2"), (3, "3")])
def test_the_web_sees_its_requests_tree_alone(owner, web, table, organization, tree):
    see(web, organization)

    seen = rows(web, table)

    assert seen == rows(owner, table, f"{OWNER[table]} IN ({tree})")
    assert seen


@pytest.mark.parametrize("table", OWNER)
def test_the_web_sees_everything_for_the_operator(owner, web, table):
    see(web, "*")

    assert rows(web, table) == rows(owner, table)


def test_what_the_web_sees_ends_with_its_transaction(web):
    see(web, 1)
    web.commit()

    assert rows(web, "organization") == set()


@pytest.mark.parametrize(
    ("organization", "amounts"), [(1, {41, 42, 49}), (2, {41, 42, 49}), (3, {43, 49})]
)
def test_an_organization_sees_the_prices_that_hold_for_it(web, organization, amounts):
    see(web, organization)

    assert names(web, "SELECT amount FROM price") == amounts


@pytest.mark.parametrize(
    ("organization", "pool", "known"),
    [(1, 1, True), (1, 2, True), (2, 1, False), (3, 1, False), ("*", 3, True)],
)
def test_known_keys_are_told_of_an_import_into_a_pool_in_sight(web, organization, pool, known):
    see(web, organization)

    asked = f"SELECT known_keys({pool}, ARRAY['TOWN0003', 'NOBODYS1'])"

    assert names(web, asked) == ({"TOWN0003"} if known else set())


def test_the_operator_alone_sees_invoice_numbers(web):
    see(web, 1)
    assert rows(web, "invoice_serial") == set()

    see(web, "*")
    assert len(rows(web, "invoice_serial")) == 1


@pytest.mark.parametrize("table", sorted(WORKERS))
def test_the_web_cannot_read_what_is_the_workers(web, table):
    see(web, "*")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(web, table)


EVENT = "INSERT INTO event (source_id, organization_id, learner_organization_id, webhook_id, body_hash, type)"
CHARGE = (
    "INSERT INTO charge (kind, organization_id, learner_organization_id, course_id, pool_id,"
    " assignment_id, amount, currency, occurred_at)"
)
MESSAGE = (
    "INSERT INTO message (organization_id, distribution_id, template_id, kind, recipient, data)"
)
OUTSIDE = {
    "a pool for a stranger": "INSERT INTO pool (organization_id, course_id, name, starts_at,"
    " expires_at, content_availability_days) VALUES (3, 1, 'x', '2026-01-01', '2027-01-01', 9)",
    "a pool given away": "UPDATE pool SET organization_id = 3 WHERE id = 1",
    "a key in a stranger's pool": "INSERT INTO key (pool_id, code) VALUES (3, 'STRANGE-1')",
    "a key moved to a stranger's pool": "UPDATE key SET pool_id = 3 WHERE id = 1",
    "a token for a stranger": "INSERT INTO token (organization_id, name, role, hash)"
    " VALUES (3, 'x', 'manager', 'x')",
    "an operator's token": "INSERT INTO token (name, role, hash) VALUES ('x', 'operator', 'x')",
    "an answer to a stranger's token": "INSERT INTO answer (token_id, key, request)"
    " VALUES (1003, 'x', 'x')",
    "a secret for a stranger's source": "INSERT INTO source_secret (source_id, encrypted)"
    " VALUES (3, 'x')",
    "a mail in a stranger's name": "INSERT INTO message (organization_id, kind, recipient, data)"
    " VALUES (3, 'keys', 'ann@example.com', '{}')",
    "an endpoint for a stranger": "INSERT INTO endpoint (organization_id, url, types)"
    " VALUES (3, 'https://x', '{pool.low}')",
    "a secret for a stranger's endpoint": "INSERT INTO endpoint_secret (endpoint_id, encrypted)"
    " VALUES (3, 'x')",
    "a delivery": "INSERT INTO delivery (endpoint_id, type, data) VALUES (1, 'pool.low', '{}')",
    "a stranger's history": "INSERT INTO history (actor, organization_id, action, thing, thing_id)"
    " VALUES (entered_actor(), 3, 'x', 'pool', 3)",
    "a report on a stranger": "INSERT INTO report_run (organization_id, notebook, first_day, last_day,"
    " asked_by) VALUES (3, 'usage', '2026-01-01', '2026-01-31', 'x')",
    "a report on everybody": "INSERT INTO report_run (notebook, first_day, last_day, asked_by)"
    " VALUES ('usage', '2026-01-01', '2026-01-31', 'x')",
    "a schedule for a stranger": "INSERT INTO report_schedule (organization_id, notebook, every, asked_by)"
    " VALUES (3, 'usage', 'week', 'x')",
    "a schedule for everybody": "INSERT INTO report_schedule (notebook, every, asked_by)"
    " VALUES ('usage', 'week', 'x')",
    "a report of a schedule": "INSERT INTO report_run (organization_id, schedule_id, notebook, first_day,"
    " last_day, asked_by) SELECT 1, id, 'usage', '2026-01-01', '2026-01-31', 'x' FROM report_schedule",
    "a price": "INSERT INTO price (course_id, organization_id, amount, currency, valid_from)"
    " VALUES (1, 1, 0, 'EUR', '2026-02-01')",
    "a course": "INSERT INTO course (code, title) VALUES ('FREE', 'Free')",
    "an organization without a parent": "INSERT INTO organization (name) VALUES ('Rome')",
    "a child for a stranger": "INSERT INTO organization (name, parent_id) VALUES ('Lyon', 3)",
    "a tree that leaves its parent": "UPDATE organization SET parent_id = NULL WHERE id = 2",
    "a tree that goes below a stranger": "UPDATE organization SET parent_id = 3 WHERE id = 1",
    "an event of a stranger's source": f"{EVENT} VALUES (3, 1, 1, 'x', 'x', 'redemption.requested')",
    "an event for a stranger's learner": f"{EVENT} VALUES (1, 1, 3, 'x', 'x', 'redemption.requested')",
    "an event of a child's source in its parent's name": f"{EVENT}"
    " VALUES (2, 1, 1, 'x', 'x', 'redemption.requested')",
    "an event moved to a stranger's source": "UPDATE event SET source_id = 3 WHERE id = 1",
    "an event settled by itself": "UPDATE event SET status = 'settled', outcome = 'redeemed',"
    " settled_at = now() WHERE id = 1",
    "a launch of a stranger's assignment": "INSERT INTO launch (assignment_id, organization_id, launch,"
    " launched_at) VALUES (3, 1, 'x', now())",
    "a launch told by a source": "INSERT INTO launch (assignment_id, organization_id, source_id, launch,"
    " launched_at) VALUES (1, 1, 3, 'x', now())",
    "a charge for a stranger's assignment": f"{CHARGE} VALUES ('extension', 1, 3, 1, 1, 3, 1, 'EUR', now())",
    "a charge of a stranger's pool": f"{CHARGE} VALUES ('extension', 1, 1, 1, 3, 1, 1, 'EUR', now())",
    "a charge with a stranger's amount": "UPDATE charge SET amount = 0 WHERE id = 1",
    "a credit of a stranger's charge": "INSERT INTO charge (kind, organization_id, learner_organization_id,"
    " course_id, pool_id, assignment_id, credits_id, amount, currency, occurred_at)"
    " VALUES ('credit', 1, 1, 1, 1, 1, 3, -1, 'EUR', now())",
    "a key of a stranger's distribution": "INSERT INTO key (pool_id, distribution_id, code)"
    " VALUES (1, 3, 'STRANGE-1')",
    "a key handed out by a stranger": "UPDATE key SET distribution_id = 3 WHERE id = 1",
    "a key handed out by a child": "UPDATE key SET distribution_id = 2 WHERE id = 1",
    "a key's code": "UPDATE key SET code = 'STOLEN-01' WHERE id = 1",
    "a replacement by a stranger's key": "INSERT INTO key_replacement (old_key_id, new_key_id, reason)"
    " VALUES (1, 3, 'x')",
    "an assignment": "INSERT INTO assignment (key_id, pool_id, course_id, learner_id, organization_id,"
    " redeemed_at, expires_at) VALUES (3, 3, 1, 1, 1, '2026-02-01', '2026-08-01')",
    "an assignment of a stranger's key": "UPDATE assignment SET key_id = 3, pool_id = 3 WHERE id = 1",
    "an assignment of a stranger's learner": "UPDATE assignment SET learner_id = 3 WHERE id = 1",
    "a learner who is a stranger's duplicate": "UPDATE learner SET duplicate_of = 3 WHERE id = 1",
    "a mail about a stranger's distribution": f"{MESSAGE} VALUES (1, 3, NULL, 'keys', 'x@y.z', '{{}}')",
    "a mail in a stranger's words": f"{MESSAGE} VALUES (1, 1, 1003, 'keys', 'x@y.z', '{{}}')",
    "a report on a stranger's invoice": "INSERT INTO report_run (organization_id, invoice_id, notebook,"
    " first_day, last_day, asked_by) VALUES (1, 3, 'usage', '2026-01-01', '2026-01-31', 'x')",
    "a paid invoice": "UPDATE invoice SET status = 'paid' WHERE id = 1",
    "an invoice of one's own": "INSERT INTO invoice (organization_id, month, currency)"
    " VALUES (1, '2026-03-01', 'EUR')",
    "a line of an invoice": "UPDATE invoice_line SET amount = 0 WHERE invoice_id = 1",
    "a payment": "INSERT INTO payment (invoice_id, paid_on, amount) VALUES (1, '2026-03-05', 1)",
    "a tax rate": "UPDATE tax_rate SET percent = 0 WHERE organization_id = 1",
    "a second factor that was not given": "UPDATE console_session SET second_factor_at = now()"
    " WHERE user_id IN (SELECT id FROM console_user)",
    "a second factor of a thief's": "UPDATE console_user SET totp_encrypted = 'x'",
    "another role": "UPDATE console_user SET role = 'finance'",
    "a token that never ends": "UPDATE token SET expires_at = NULL",
    "history rewritten": "SET LOCAL keypool.erasing = 'on'; UPDATE history SET detail = '{}'",
    "an attempt rewritten": "UPDATE redemption SET learner_email = 'x@y.z' WHERE organization_id = 1",
}


@pytest.mark.parametrize("sql", OUTSIDE.values(), ids=OUTSIDE)
def test_the_web_writes_nothing_outside_its_requests_tree(web, sql):
    see(web, 1)

    # A trigger may refuse before a policy does.
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.CheckViolation)):
        web.execute(sql)


# Foreign keys of what the web may write, which are checked without row level security.
WRITABLE_REFERENCES = """
    SELECT format('%s.%s', conrelid::regclass, attname)
      FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey)
     WHERE contype = 'f' AND cardinality(conkey) = 1 AND confrelid::regclass::text NOT IN ('course', 'currency')
       AND has_column_privilege('keypool_web', attrelid, attnum, '{right}')
       AND NOT EXISTS (
           SELECT FROM pg_policies
            WHERE tablename = conrelid::regclass::text AND cmd IN ('ALL', '{right}')
              AND (coalesce(with_check, qual) ~ format('[^a-z._]%s[^a-z_]|%s.%1$s[^a-z_]', attname, tablename)
                   OR policyname LIKE 'operating%'
                   OR with_check = '( SELECT sees_everything() AS sees_everything)'))
"""


@pytest.mark.parametrize("right", ["INSERT", "UPDATE"])
def test_every_reference_that_the_web_may_write_is_checked_by_a_policy(owner, right):
    assert names(owner, WRITABLE_REFERENCES.replace("{right}", right)) == set()


@pytest.mark.parametrize(
    "sql", ["UPDATE pool SET paused_at = now()", "UPDATE key SET generated = true"]
)
def test_an_update_leaves_strangers_alone(web, sql):
    see(web, 1)

    assert web.execute(sql).rowcount == 2


INSIDE = {
    "a child": "INSERT INTO organization (name, parent_id) VALUES ('Mitte', 2)",
    "a root's own name": "UPDATE organization SET name = 'Greater Berlin' WHERE id = 1",
    "a child moved up": "UPDATE organization SET locale = 'de', parent_id = 1 WHERE id = 2",
    "a pool": "INSERT INTO pool (organization_id, course_id, name, starts_at, expires_at,"
    " content_availability_days) VALUES (2, 1, 'x', '2026-01-01', '2027-01-01', 9)",
    "a key": "INSERT INTO key (pool_id, code) VALUES (2, 'INSIDE-01')",
    "an event": f"{EVENT} VALUES (1, 1, 2, 'x', 'x', 'redemption.requested')",
    "a key handed out": "UPDATE key SET distribution_id = 2 WHERE id = 2",
    "a launch": "INSERT INTO launch (assignment_id, organization_id, launch, launched_at)"
    " VALUES (2, 2, 'x', '2026-03-01')",
    "a child's extension that its parent pays": "INSERT INTO charge (kind, organization_id,"
    " learner_organization_id, course_id, pool_id, assignment_id, amount, currency, occurred_at)"
    " VALUES ('extension', 1, 2, 1, 1, 2, 1, 'EUR', now())",
    "a mail": f"{MESSAGE} VALUES (1, NULL, 1001, 'keys', 'x@y.z', '{{}}')",
    "a schedule": "INSERT INTO report_schedule (organization_id, notebook, every, asked_by)"
    " VALUES (2, 'usage', 'week', 'x')",
    "a report": "INSERT INTO report_run (organization_id, invoice_id, notebook, first_day, last_day,"
    " asked_by) VALUES (2, 2, 'billing', '2026-01-01', '2026-01-31', 'x')",
}


@pytest.mark.parametrize("sql", INSIDE.values(), ids=INSIDE)
def test_the_web_writes_inside_its_requests_tree(web, sql):
    see(web, 1)

    assert web.execute(sql).rowcount == 1


def test_no_temporary_table_stands_in_for_the_tree(web):
    web.execute(
        "CREATE TEMP TABLE organization_ancestry AS SELECT 1 AS ancestor_id, 3 AS descendant_id"
    )
    web.execute("GRANT SELECT ON organization_ancestry TO PUBLIC")
    see(web, 1)

    assert names(web, "SELECT id FROM public.organization") == {1, 2}


def test_the_web_finds_tokens_and_sources_before_it_knows_whose_request_it_is(web):
    assert web.execute("SELECT name, organization_id FROM find_token('Paris', '')").fetchall() == [
        ("Paris", 3)
    ]
    assert web.execute("SELECT * FROM find_source(3)").fetchall() == [(3, b"Paris")]


# An index is of use behind a policy only where what is compared is leakproof: neither lower() nor the
# equality of an enumeration is.
FOUND_BY_INDEX = {
    "a learner": (
        "SELECT FROM learner WHERE email_lower = lower('Ann@Example.com')",
        "email_lower",
    ),
    "attempts": (
        "SELECT FROM redemption WHERE learner_email_lower = lower('Ann@Example.com')",
        "learner_email_lower",
    ),
    "a distribution": (
        "SELECT FROM distribution WHERE pool_id = 1 AND recipient_lower = lower('Shop')",
        "recipient_lower",
    ),
    "what ends first": (
        "SELECT FROM assignment WHERE is_overdue(status, expires_at, clock_now() + '9 days')"
        " ORDER BY expires_at",
        "expires_at",
    ),
}


@pytest.mark.parametrize(("sql", "column"), FOUND_BY_INDEX.values(), ids=FOUND_BY_INDEX)
def test_the_web_finds_by_index_what_its_policies_let_it_see(web, sql, column):
    see(web, 1)
    web.execute("SET LOCAL enable_seqscan = off")
    web.execute("SET LOCAL enable_bitmapscan = off")

    plan = "\n".join(row for (row,) in web.execute(f"EXPLAIN {sql}"))

    assert re.search(rf"Index Cond: .*{column} [<=]", plan), plan


def test_what_would_happen_to_a_key_is_found_by_index(web):
    see(web, 1)
    web.execute("SET LOCAL enable_seqscan = off")
    web.execute("SET LOCAL enable_hashjoin = off")
    web.execute("SET LOCAL enable_mergejoin = off")
    asked = {"code": "'ABC-123'", "email": "'ann@example.com'", "organization_id": "1"}
    sql = re.sub(r"(?<!:):(\w+)", lambda name: asked[name[1]], deciding.DECIDE_ONE.text)

    plan = "\n".join(row for (row,) in web.execute(f"EXPLAIN {sql}"))

    for found in (
        "canonical = canon.canonical",
        r"canonical = CASE WHEN .* THEN translate\(canon.canonical,",
        "email_lower = canon.address",
    ):
        assert re.search(rf"Index Cond: .*{found}", plan), plan


# Rights


def test_the_web_and_the_analyst_own_nothing(owner):
    owned = owner.execute("""
        SELECT classid::regclass, objid FROM pg_shdepend
         WHERE deptype = 'o' AND refobjid IN ('keypool_web'::regrole, 'keypool_analyst'::regrole)
           AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    """)

    assert owned.fetchall() == []


def test_the_web_removes_nothing(owner):
    rights = "DELETE, TRUNCATE, TRIGGER, REFERENCES, MAINTAIN"

    removable = names(owner, f"{TABLES} AND has_table_privilege('keypool_web', oid, '{rights}')")

    assert removable == {"organization_logo", "reminder"}  # wishes, which tell of nothing that was


def test_the_web_does_not_rewrite_history(web):
    see(web, "*")
    web.execute("SET LOCAL keypool.erasing = 'on'")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        web.execute("UPDATE history SET actor = 'nobody'")


@pytest.mark.parametrize("login", ["keypool_web", "keypool_analyst"])
def test_neither_the_web_nor_the_analyst_makes_tables(owner, login):
    makes = "SELECT has_schema_privilege(%s, %s, 'CREATE')"

    for schema in ("public", "report"):
        assert owner.execute(makes, [login, schema]).fetchone() == (False,)


@pytest.mark.parametrize("login", DOORS)
def test_who_may_call_what_runs_with_the_owners_rights(owner, login):
    callable_ = names(
        owner,
        f"""
        SELECT oid::regprocedure::text FROM pg_proc
         WHERE pronamespace IN ('public'::regnamespace, 'report'::regnamespace) AND prosecdef
           AND prorettype <> 'trigger'::regtype AND has_function_privilege('{login}', oid, 'EXECUTE')
        """,
    )

    assert callable_ == DOORS[login]


def test_security_definer_functions_search_only_schemas_that_the_owner_alone_writes(owner):
    loose = names(
        owner,
        """
        SELECT oid::regprocedure::text FROM pg_proc
         WHERE pronamespace IN ('public'::regnamespace, 'report'::regnamespace) AND prosecdef
           AND NOT coalesce('search_path=public, pg_temp' = ANY (proconfig), false)
        """,
    )

    assert loose == set()


# Reports

VIEWS = """
    SELECT oid::regclass::text FROM pg_class
     WHERE relnamespace = 'report'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""


def test_the_analyst_reads_schema_report_and_nothing_else(owner):
    everything = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN"
    changes = everything.removeprefix("SELECT, ")
    may = "AND has_table_privilege('keypool_analyst', oid, '{}')"

    assert names(owner, TABLES + may.format(everything)) == set()
    assert names(owner, VIEWS + may.format(changes)) == set()
    assert names(owner, VIEWS + may.format("SELECT")) == names(owner, VIEWS)


def test_the_analyst_sees_every_organization(analyst):
    assert names(analyst, "SELECT name FROM report.organization") == {
        "Berlin",
        "Kreuzberg",
        "Paris",
    }


def test_every_view_is_a_barrier(owner):
    barriers = names(owner, f"{VIEWS} AND 'security_barrier=true' = ANY (reloptions)")

    assert barriers == names(owner, VIEWS)


@pytest.fixture(scope="module")
def report_url(towns: Addresses) -> Iterator[str]:
    """The login of a report on Berlin's tree."""
    name, password = f"keypool_report_{secrets.token_hex(6)}", secrets.token_hex(16)
    login = Identifier(name)
    with connect(towns.database_url) as owner:
        owner.execute(
            SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE keypool_analyst").format(login, password)
        )
        owner.execute("INSERT INTO report_login VALUES (%s, 1)", [name])
    url = make_url(towns.session_url).set(username=name, password=password)
    yield url.render_as_string(hide_password=False)
    with connect(towns.database_url) as owner:
        owner.execute(SQL("DROP ROLE {}").format(login))


@pytest.fixture
def report(report_url: str) -> Iterator[psycopg.Connection]:
    with connect(report_url) as connection:
        connection.autocommit = True
        yield connection


ESCAPES = {
    "nothing": "SELECT 1",
    "the web's setting": "SET keypool.organization = '*'",
    "another organization": "SET keypool.organization = '3'",
    "another role": "SET ROLE keypool_analyst",
    "the web's role": "SET ROLE keypool_web",
    "the owner's role": "SET ROLE keypool",
    "another session": "SET SESSION AUTHORIZATION keypool_analyst",
    "no walls": "SET row_security = off",
    "other processes": "SET debug_parallel_query = on; SET parallel_setup_cost = 0;"
    " SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    "its own words": "CREATE TEMP TABLE organization AS SELECT 3::bigint AS id;"
    " CREATE TEMP TABLE report_login AS SELECT session_user AS login, 3::bigint AS organization_id;"
    " CREATE TEMP TABLE organization_ancestry AS SELECT 3::bigint AS ancestor_id, 3::bigint AS descendant_id;"
    " GRANT SELECT ON organization, report_login, organization_ancestry TO PUBLIC;"
    " SET search_path = pg_temp, public",
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_a_report_sees_its_organizations_tree_whatever_it_sets(owner, report, escape):
    with suppress(psycopg.errors.InsufficientPrivilege):  # refused is as good
        report.execute(escape)

    for view in names(owner, VIEWS) - {"report.course", *LAKE}:  # the catalogue is everybody's
        seen = rows(report, view)
        assert any("Berlin" in row for row in seen), view
        assert any("Kreuzberg" in row for row in seen), view
        assert not any("Paris" in row for row in seen), view
        assert any("Paris" in row for row in rows(owner, view)), view


# What a question to the lake knows has no names of organizations, but for those of pools and labels.
LAKE = {
    "report.lake",
    "report.lake_month",
    "report.lake_change",
    "report.lake_labels",
    "report.lake_pool",
}
LAKES = """
    INSERT INTO lake VALUES (true, '2026-02-01', '2026-02-01');
    INSERT INTO lake_month SELECT id, '2026-01-01', gen_random_uuid() FROM organization;
    INSERT INTO lake_change (organization_id, month) SELECT id, '2026-01-01' FROM organization;
    INSERT INTO lake_labels (organization_id, labels) SELECT id, ARRAY[name] FROM organization;
    INSERT INTO lake_pool SELECT organization_id, id FROM pool;
"""


@pytest.fixture
def lakes(owner: psycopg.Connection) -> Iterator[None]:
    """A lake with months of every organization."""
    owner.execute(LAKES)
    owner.commit()
    yield
    owner.execute("TRUNCATE lake, lake_month, lake_change, lake_labels, lake_pool")
    owner.commit()


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_a_report_sees_the_lake_of_its_organizations_tree_whatever_it_sets(
    lakes, owner, report, escape
):
    with suppress(psycopg.errors.InsufficientPrivilege):
        report.execute(escape)

    for view in ("report.lake_month", "report.lake_change"):
        assert names(report, f"SELECT organization_id FROM {view}") == {1, 2}
    assert names(report, "SELECT labels[1] FROM report.lake_labels") == {"Berlin", "Kreuzberg"}
    assert names(report, "SELECT pool_id FROM report.lake_pool") == {1, 2}
    assert names(report, "SELECT written FROM report.lake") == {date(2026, 2, 1)}


def test_a_reports_own_function_is_told_no_strangers_row(report):
    report.execute(
        "CREATE FUNCTION pg_temp.tell(name text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
        " $$ BEGIN IF name = 'Paris' THEN RAISE EXCEPTION 'told'; END IF; RETURN true; END $$"
    )

    told = names(report, "SELECT name FROM report.organization WHERE pg_temp.tell(name)")

    assert told == {"Berlin", "Kreuzberg"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM public.organization",
        "SELECT * FROM public.report_login",
        "SELECT public.visible_organization()",
        "SELECT * FROM public.find_token('Paris', '')",
        "UPDATE report.organization SET name = 'mine'",
        "CREATE TABLE report.note ()",
        "COPY report.organization TO PROGRAM 'cat'",
    ],
)
def test_a_report_reads_its_views_and_nothing_else(report, sql):
    with pytest.raises(
        (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
    ):
        report.execute(sql)


def test_a_report_on_a_child_sees_nothing_of_its_parent_but_the_name(owner, report_url, report):
    owner.execute("UPDATE report_login SET organization_id = 2")
    owner.commit()

    seen = names(report, "SELECT name FROM report.pool")

    owner.execute("UPDATE report_login SET organization_id = 1")
    owner.commit()
    assert seen == {"Kreuzberg pool"}


def test_a_report_knows_no_id_of_a_stranger_who_tried_its_key(report):
    strange = "SELECT learner_id, learner_organization_id FROM report.redemption WHERE event = 4"

    assert report.execute(strange).fetchall() == [(None, None)]


def test_a_report_on_a_child_learns_nothing_of_the_parents_distribution_or_charge(owner, report):
    owner.execute("UPDATE assignment SET organization_id = 2 WHERE id = 1")
    owner.execute("UPDATE report_login SET organization_id = 2")
    owner.commit()
    hidden = "SELECT charge_id, recipient, reference FROM report.assignment WHERE assignment_id = 1"

    seen = report.execute(hidden).fetchall()

    owner.execute("UPDATE assignment SET organization_id = 1 WHERE id = 1")
    owner.execute("UPDATE report_login SET organization_id = 1")
    owner.commit()
    assert seen == [(None, None, None)]


def test_a_report_is_told_no_price_of_a_stranger(report):
    asked = "SELECT * FROM report.price_now(1, {})"

    assert report.execute(asked.format("3")).fetchall() == []
    assert report.execute(asked.format("1")).fetchall() == [(41, "EUR")]


def test_the_web_reads_reports_of_its_requests_tree(web):
    see(web, 2)

    assert names(web, "SELECT name FROM report.organization") == {"Kreuzberg"}
