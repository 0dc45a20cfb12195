"""KEYPOOL_SECRET_KEY: one key a purpose, and an old one that can go once nothing needs it."""

import base64
import hashlib
import re
from typing import get_args

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from tests import world as worlds
from worker import errors
from worker.catalogue import courses
from worker.redemption import sources
from worker.settings import settings
from worker.tenancy import resealing, secrets
from worker.tenancy.actors import Actor
from worker.tenancy.secrets import Purpose

OPERATOR = Actor.operator("test")
OLD, NEW = "an old and short key", "a new key that is as long as it must be"


@pytest.fixture
def secret_key(monkeypatch):
    def set_to(*keys: str) -> None:
        monkeypatch.setenv("KEYPOOL_SECRET_KEY", ",".join(keys))
        settings.cache_clear()

    yield set_to
    settings.cache_clear()


def as_the_first_release(key: str, secret: bytes) -> bytes:
    derived = base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())
    return Fernet(derived).encrypt(secret)


def put(session, sealed: bytes) -> None:
    session.execute(text("UPDATE source_secret SET encrypted = :sealed"), {"sealed": sealed})


def figures(session, name: str = "source_secret") -> tuple[int, int]:
    [table] = [table for table in resealing.sealed(session) if table["table"] == name]
    return table["old"], table["without_key"]


@pytest.fixture
def source(session):
    owner = str(worlds.build(session).parent)
    session.execute(
        text("DELETE FROM source_secret")
    )  # the world's own source has one that is none
    made = sources.add(session, actor=OPERATOR, name="portal", organization=owner)
    return int(made["id"])


def live(session, source: int) -> list[bytes]:
    return sources.live_secrets(session, source_id=source)[1]


def test_each_purpose_has_a_key_of_its_own_and_none_is_the_secret_keys_hash(secret_key):
    secret_key(NEW)

    keys = {purpose: secrets.derived(purpose) for purpose in get_args(Purpose)}

    assert len({*keys.values(), hashlib.sha256(NEW.encode()).digest(), NEW.encode()}) == 9
    assert all(len(key) == 32 for key in keys.values())
    with pytest.raises(errors.SettingsError):
        secrets.decrypt(Fernet(base64.urlsafe_b64encode(keys["sessions"])).encrypt(b"forged"))


def test_an_old_key_opens_what_it_sealed_and_seals_nothing(secret_key):
    secret_key(OLD * 2)
    sealed = secrets.encrypt(b"secret")
    secret_key(NEW, OLD * 2)

    opened, fresh = secrets.decrypt(sealed), secrets.encrypt(b"secret")

    assert opened == b"secret"
    secret_key(NEW)
    assert secrets.decrypt(fresh) == b"secret"
    with pytest.raises(errors.SettingsError, match="does not open"):
        secrets.decrypt(sealed)


@pytest.mark.parametrize("keys", [(NEW,), (OLD * 2, NEW), (f" {NEW}",)])
def test_what_the_first_release_sealed_opens_with_its_key(secret_key, keys):
    secret_key(*keys)

    assert secrets.decrypt(as_the_first_release(keys[-1], b"secret")) == b"secret"


def test_after_encrypting_anew_the_old_key_can_go(session, source, secret_key):
    secret_key(NEW, OLD)
    put(session, as_the_first_release(OLD, b"shared with the portal"))
    before, told = figures(session), resealing.notes(session)

    first, second = resealing.reencrypt(session), resealing.reencrypt(session)

    assert (before, figures(session)) == ((1, 0), (0, 0))
    assert re.search("1 in source_secret.*keypool secrets reencrypt", told[0])
    assert "remove all but the first" in resealing.notes(session)[0]
    assert (first["encrypted_anew"], second["encrypted_anew"]) == (1, 0)
    secret_key(NEW)
    assert live(session, source) == [b"shared with the portal"]
    assert resealing.notes(session) == []


def test_what_the_first_release_sealed_with_the_newest_key_needs_no_old_one(
    session, source, secret_key
):
    secret_key(NEW)
    put(session, as_the_first_release(NEW, b"shared"))

    told, done = resealing.notes(session), resealing.reencrypt(session)

    assert told == []
    assert done["encrypted_anew"] == 1
    assert live(session, source) == [b"shared"]


@pytest.mark.usefixtures("source")
def test_a_secret_that_no_key_opens_is_told_and_left_as_it_is(session, secret_key):
    secret_key(NEW)
    lost = as_the_first_release(OLD, b"shared")
    put(session, lost)

    told, done = resealing.notes(session), resealing.reencrypt(session)

    assert told == ["No key in KEYPOOL_SECRET_KEY opens some secrets: 1 in source_secret."]
    assert done == {"encrypted_anew": 0, "without_key": 1}
    assert session.scalars(text("SELECT encrypted FROM source_secret")).one() == lost


def test_more_rows_than_a_chunk_are_encrypted_anew(session, source, secret_key, monkeypatch):
    monkeypatch.setattr(resealing, "CHUNK", 2)
    secret_key(OLD * 2)
    for _ in range(4):
        sources.rotate(session, actor=OPERATOR, source=str(source))
    secret_key(NEW, OLD * 2)

    done = resealing.reencrypt(session)

    assert done["encrypted_anew"] == 4  # the first was made with the tests' key
    assert done["without_key"] == 1


def test_every_column_of_encrypted_bytes_is_encrypted_anew(session):
    kept = session.execute(
        text("""
            SELECT table_name, column_name FROM information_schema.columns
             WHERE table_schema = 'public' AND data_type = 'bytea'
               AND table_name <> 'wall' AND column_name ~ 'crypt|secret|seal|private|totp'
        """)
    ).all()

    assert {(c.table.name, c.name) for c in resealing.columns()} == {tuple(row) for row in kept}


def test_the_secret_of_a_courses_launch_links_is_encrypted_anew_too(session, secret_key):
    secret_key(NEW[::-1])
    course = {"code": "C", "title": "T", "price": "1", "currency": "EUR"}
    courses.add(session, actor=OPERATOR, **course, launch_url="https://labs.example/start")
    secret_key(NEW, NEW[::-1])
    before = figures(session, "course")

    resealing.reencrypt(session)

    assert (before, figures(session, "course")) == ((1, 0), (0, 0))


def test_what_is_sealed_is_authenticated(secret_key):
    secret_key(NEW)
    sealed = base64.urlsafe_b64decode(secrets.encrypt(b"the same"))
    again = base64.urlsafe_b64decode(secrets.encrypt(b"the same"))

    for place in (9, 20, len(sealed) - 40, len(sealed) - 1):  # time, start, text, mark
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(errors.SettingsError):
            secrets.decrypt(base64.urlsafe_b64encode(bytes(changed)))

    assert sealed[9:25] != again[9:25]  # the start is random: equal texts are not seen to be equal
    assert secrets.decrypt(base64.urlsafe_b64encode(sealed)) == b"the same"
