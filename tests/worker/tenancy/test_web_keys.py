"""What the web's login may do only with a proof, which takes KEYPOOL_SECRET_KEY: SQL alone has none."""

import hashlib
import hmac
import json
from collections.abc import Iterator

import psycopg
import pytest
from celery.signals import beat_init, worker_init
from sqlalchemy import select

from tests.conftest import SECRET_KEY, Addresses, connect
from worker import errors
from worker.database import connections
from worker.database.connections import Entry, Login
from worker.redemption import inbox
from worker.settings import settings
from worker.tables.redemption import Event
from worker.tenancy import resealing, secrets, web_keys
from worker.tenancy.actors import Role

NEW = "the new one that is long enough for a key"


# What asks for a proof, and the words that it is about: of organization 1, its source, provider, user and
# visitor, of whose cookies SQL as the web's login knows one.
ASKING = {
    "a source": ("enter_source(1, %s)", ("source", 1)),
    "a redeem page": ("enter_page(1, %s)", ("page", 1)),
    "whom an identity provider vouches for": (
        "begin_vouched_session(7, 'sub', 'boss@example.com', 'analyst', '\\x5e', '\\x00', '', '', '1 h', %s)",
        ("vouched", 7, "sub", "boss@example.com", Role.ANALYST, b"\x5e"),
    ),
    "whether a password is right": (
        "begin_session('boss@example.com', '$argon2id$x', '\\x5e', '\\x00', '', '', '1 h', %s)",
        ("sign in", "boss@example.com", "$argon2id$x", b"\x5e"),
    ),
    "whether it is right again": (
        "confirm_session('\\xaa', '$argon2id$x', '', '', %s)",
        ("confirm", b"\xaa", "$argon2id$x"),
    ),
    "that a second factor was given": (
        "give_second_factor('\\xcc', 7, '\\x01', %s)",
        ("second factor", b"\xcc", 7, b"\x01"),
    ),
    "a second factor that is set up": (
        "set_up_second_factor('\\xaa', '\\x5e', 7, %s)",
        ("set up", b"\xaa", b"\x5e", 7),
    ),
    "how a password is hashed": ("password_salt('eve@x', '$', %s) LIKE '$%%$'", ("salt", "eve@x")),
    "a line in a user's history": (
        "remember_locked('boss@example.com', '192.0.2.0/24', %s) IS NOT NULL",
        ("locked", "boss@example.com", "192.0.2.0/24"),
    ),
    "failures that count no more": (
        "forgive_sign_ins(ARRAY['\\xaa', '\\xbb']::bytea[], %s) IS NOT NULL",
        ("forgive", b"\xaa", b"\xbb"),
    ),
    "a failure that counts no more": (
        "uncount_sign_in('\\xaa', %s) IS NOT NULL",
        ("uncount", b"\xaa"),
    ),
    "a mail with a link": (
        "mail_sign_in_link('boss@example.com', '192.0.2.0/24', 7, %s) IS NOT NULL",
        ("mail link", "boss@example.com", "192.0.2.0/24"),
    ),
    "whether a key exists": ("page_of_key('ACME0001', %s) = 1", ("key", "ACME0001")),
    "a mail with a code": (
        "begin_page_session('\\x01', 1, 'eve@x', '\\x', 'en', NULL, true, true, 9, 9, %s)",
        ("begin", b"\x01", 1, "eve@x", "true", "true"),
    ),
    "a visitor without a code": (
        "begin_page_session('\\x02', 1, 'eve@x', '\\x', 'en', NULL, false, false, 9, 9, %s)",
        ("begin", b"\x02", 1, "eve@x", "false", "false"),
    ),
    "an address that was not proved": (
        "prove_page_session('\\xaa', %s) IS NOT NULL",
        ("prove", b"\xaa"),
    ),
    "somebody else's event": (
        "note_page_key('\\xaa', NULL, 1, NULL, %s) IS NOT NULL",
        ("note", b"\xaa", None, 1, None),
    ),
    "whose a message is": (
        "(SELECT organization FROM sender_of(100, %s)) = 'Acme'",
        ("unsubscribe", 100),
    ),
    "that somebody wants no reminders": ("unsubscribe(100, %s) IS NOT NULL", ("unsubscribe", 100)),
}
WORLD = """
    INSERT INTO organization (id, name, redeem_page) OVERRIDING SYSTEM VALUE VALUES (1, 'Acme', 'open');
    INSERT INTO source (id, organization_id, name) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'shop');
    INSERT INTO event (id, source_id, organization_id, learner_organization_id, webhook_id, body_hash, type)
    OVERRIDING SYSTEM VALUE VALUES (1, 1, 1, 1, 'x', 'x', 'redemption.requested');
    INSERT INTO console_user (organization_id, email, role) VALUES (1, 'boss@example.com', 'manager');
    INSERT INTO identity_provider (id, organization_id, issuer, client_id, secret_encrypted)
    OVERRIDING SYSTEM VALUE VALUES (7, 1, 'https://login.example.com', 'keypool', 'x');
    INSERT INTO identity_domain VALUES ('example.com', 7);
    INSERT INTO course (id, code, title) OVERRIDING SYSTEM VALUE VALUES (1, 'C', 'C');
    INSERT INTO pool (id, organization_id, course_id, name, starts_at, expires_at, content_availability_days)
    OVERRIDING SYSTEM VALUE VALUES (1, 1, 1, 'P', '2020-01-01', '2021-01-01', 9);
    INSERT INTO key (id, pool_id, code) OVERRIDING SYSTEM VALUE VALUES (1, 1, 'ACME-0001');
    INSERT INTO message (id, organization_id, kind, recipient, data)
    OVERRIDING SYSTEM VALUE VALUES (100, 1, 'keys', 'ann@example.com', '{}');
    INSERT INTO redemption (event_id, organization_id, learner_organization_id, learner_email, key_id, pool_id,
                            outcome, received_at)
    VALUES (1, 1, 1, 'ann@example.com', 1, 1, 'pool_expired', now());
    UPDATE console_user SET password_hash = '$argon2id$x';
    INSERT INTO console_session (user_id, hash, device, client, ends_at)
    SELECT id, '\\xaa', '', '', now() + interval '1 hour' FROM console_user;
    INSERT INTO console_user (organization_id, email, role, totp_encrypted)
    VALUES (1, 'tom@example.com', 'manager', 'sealed');
    INSERT INTO console_session (user_id, hash, device, client, ends_at)
    SELECT id, '\\xcc', '', '', now() + interval '1 hour' FROM console_user WHERE email LIKE 'tom%';
    INSERT INTO page_session (hash, organization_id, email, client_hash, language, needs_code)
    VALUES ('\\xaa', 1, 'ann@example.com', '', 'en', true);
"""


@pytest.fixture(scope="module")
def acme(database: Addresses) -> Addresses:
    with connect(database.database_url) as owner:
        owner.execute(WORLD)
    return database


@pytest.fixture
def web(acme: Addresses) -> Iterator[psycopg.Connection]:
    with connect(acme.web_database_url) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def secret_key(monkeypatch):
    """Set KEYPOOL_SECRET_KEY of this process, as of one that was started anew."""

    def set_to(*keys: str) -> None:
        monkeypatch.setenv("KEYPOOL_SECRET_KEY", ",".join(keys))
        settings.cache_clear()

    yield set_to
    monkeypatch.undo()
    settings.cache_clear()


def guessed(*words: object) -> bytes:
    """Give proofs by what SQL can know or guess of a key."""
    asked = json.dumps([str(word) for word in words], separators=(",", ":")).encode()
    keys = [b"", bytes(32), SECRET_KEY.encode(), hashlib.sha256(SECRET_KEY.encode()).digest()]
    keys.append(secrets.derived("codes"))
    return b"".join(hmac.digest(key, asked, hashlib.sha256) for key in keys)


def test_whatever_takes_proofs_is_asked_here(web):
    takers = """SELECT proname FROM pg_proc
                 WHERE 'proofs' = ANY (proargnames) AND has_function_privilege('keypool_web', oid, 'EXECUTE')"""

    named = {name for (name,) in web.execute(takers)} - {
        "knows_web"
    }  # it answers and lets nobody in

    asked = " ".join(sql for sql, _ in ASKING.values())
    assert named == {name for name in named if f"{name}(" in asked} != set()


@pytest.mark.parametrize(("asked", "words"), ASKING.values(), ids=ASKING)
def test_sql_without_a_proof_of_just_that_is_refused(web, asked, words):
    kind, first, *others = words
    for proofs in (
        None,
        b"",
        guessed(*words),
        web_keys.proofs("ready"),
        web_keys.proofs(f"{kind} {first}", *others),
        web_keys.proofs(kind, 999, *others),
        web_keys.proofs(*words[:-1], b"\x99"),
        web_keys.proofs(*words, "more"),
        web_keys.proofs("source" if kind == "page" else "page", first, *others),
    ):
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            web.execute(f"SELECT {asked}", [proofs])
        web.rollback()


@pytest.mark.parametrize(("asked", "words"), ASKING.values(), ids=ASKING)
def test_a_web_that_proves_its_key_is_let_in(web, asked, words):
    done = web.execute(f"SELECT {asked}", [web_keys.proofs(*words)]).fetchone()

    assert done[0] in (True, "began")


@pytest.mark.parametrize("place", range(1, 6))
def test_a_proof_vouches_for_one_session_of_one_user_in_one_role(web, place):
    asked, words = ASKING["whom an identity provider vouches for"]
    other = {1: 8, 2: "other", 3: "op@example.com", 4: Role.MANAGER, 5: b"\x5f"}
    changed = [other[place] if at == place else word for at, word in enumerate(words)]

    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        web.execute(f"SELECT {asked}", [web_keys.proofs(*changed)])


def test_a_password_without_its_second_factor_enters_as_nobody(web):
    enter = "SELECT enter_session('\\xcc', '1 hour')"
    told = "SELECT count(*) FROM console_user"
    web.execute(enter)
    before = web.execute(told).fetchone()[0]
    given, words = ASKING["that a second factor was given"]
    web.execute(f"SELECT {given}", [web_keys.proofs(*words)])
    web.execute(enter)

    after = web.execute(told).fetchone()[0]

    assert (before, after) == (0, 2)


def test_a_second_factor_is_read_by_its_session_and_removed_by_who_sees_its_user(web):
    read = "SELECT sealed_second_factor(%s)"
    sealed = [web.execute(read, [known]).fetchone()[0] for known in (b"\xcc", b"\xcd", b"\xaa")]
    removed = []
    for enter in ("SELECT 1", "SELECT enter_session('\\xaa', '1 hour')"):
        web.execute(enter)
        web.execute("SELECT remove_second_factor(id) FROM generate_series(1, 9) AS id")
        removed.append(web.execute(read, [b"\xcc"]).fetchone()[0] is None)

    assert sealed == [b"sealed", None, None]
    assert removed == [False, True]


def test_the_limit_of_an_attempt_is_told_to_who_sees_it_alone(web):
    asked = "SELECT limit_of_attempt(1) IS NULL"
    unseen = web.execute(asked).fetchone()[0]
    web.execute("SELECT enter_source(1, %s)", [web_keys.proofs("source", 1)])

    seen = web.execute(asked).fetchone()[0]

    assert (unseen, seen) == (True, False)


def test_no_words_run_into_one_another(web):
    asked, (kind, first, subject, *others) = ASKING["whom an identity provider vouches for"]
    together = web_keys.proofs(kind, f"{first} {subject}", "", *others)

    with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
        web.execute(f"SELECT {asked}", [together])


# Whose keys the database knows


def is_let_in() -> bool:
    """Say whether a web of this process's settings enters as a source."""
    try:
        with connections.session(Login.WEB, sees=inbox.entry(1)) as session:
            return session.scalar(select(Event.id)) is not None
    except errors.UnknownWebError:
        return False


def told() -> None:
    connections.transaction(web_keys.tell)


def test_a_web_with_a_new_key_before_the_old_one_is_let_in_before_and_after_the_database_knows(
    acme, secret_key
):
    let_in = [is_let_in()]
    for web, worker in [
        ((NEW, SECRET_KEY), (SECRET_KEY,)),
        ((SECRET_KEY,), (NEW, SECRET_KEY)),
        ((NEW, SECRET_KEY), (NEW, SECRET_KEY)),
        ((NEW, SECRET_KEY), (NEW,)),
        ((NEW,), (NEW,)),
    ]:
        secret_key(*worker)
        told()
        secret_key(*web)
        let_in.append(is_let_in())

    secret_key(SECRET_KEY)
    told()
    assert let_in == [True] * 6


@pytest.mark.parametrize("started", [worker_init, beat_init])
def test_a_worker_that_starts_has_the_database_know_webs_with_its_key(acme, secret_key, started):
    secret_key(NEW)
    before = is_let_in()

    started.send(sender=None)

    after = is_let_in()
    secret_key(SECRET_KEY)
    told()
    assert (before, after) == (False, True)


def test_a_key_that_was_taken_out_lets_nobody_in_once_secrets_are_encrypted_anew(acme, secret_key):
    secret_key(NEW)
    connections.transaction(resealing.reencrypt)
    secret_key(SECRET_KEY)

    refused, sentence = is_let_in(), connections.transaction(web_keys.refusal)
    notes = connections.transaction(web_keys.notes)

    told()
    assert not refused
    assert "does not know this web" in sentence
    assert [
        next(words for words in ("does not know webs", "lets webs in with") if words in note)
        for note in notes
    ] == ["does not know webs", "lets webs in with"]
    assert is_let_in()
    assert connections.transaction(web_keys.refusal) is None
    assert connections.transaction(web_keys.notes) == []


def test_a_refusal_is_told_apart_from_a_database_that_is_away(acme):
    with (
        pytest.raises(errors.UnknownWebError),
        connections.session(Login.WEB, sees=Entry("enter_source", (1, b""))),
    ):
        pass
