import re
from datetime import timedelta
from pathlib import Path

import pytest

from worker import errors
from worker.settings import MailServer, Settings, duration, settings

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(autouse=True)
def unread(monkeypatch, tmp_path):
    """Read the environment anew, from a home of the test's own."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"KEYPOOL_{name.upper()}", raising=False)
    monkeypatch.setenv("KEYPOOL_HOME", str(tmp_path))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", 0), ("90", 90), ("-90s", -90), ("15m", 900), ("24h", 86400), ("40d", 3456000)],
)
def test_a_duration_is_seconds_or_a_number_with_a_unit(written, seconds):
    assert duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KEYPOOL_CLOCK_OFFSET", "tomorrow"),
        ("KEYPOOL_LOG_FORMAT", "xml"),
        ("KEYPOOL_SETTLE_BATCH", "0"),
        ("KEYPOOL_EXPIRY_CHUNK", "many"),
    ],
)
def test_a_wrong_setting_fails_at_start_and_names_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)

    with pytest.raises(errors.SettingsError, match=variable):
        settings()


def test_the_clock_is_shifted_on_the_embedded_database_only(monkeypatch):
    monkeypatch.setenv("KEYPOOL_CLOCK_OFFSET", "40d")
    monkeypatch.setenv("KEYPOOL_DATABASE_URL", "postgresql+psycopg://somewhere/keypool")
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", "x" * 32)

    with pytest.raises(errors.SettingsError, match="KEYPOOL_CLOCK_OFFSET"):
        settings()


def test_a_database_of_ones_own_needs_a_secret_key_of_ones_own(monkeypatch):
    monkeypatch.setenv("KEYPOOL_DATABASE_URL", "postgresql+psycopg://somewhere/keypool")

    with pytest.raises(errors.SettingsError, match="KEYPOOL_SECRET_KEY"):
        settings()


def test_a_pooler_is_for_a_database_of_ones_own(monkeypatch):
    monkeypatch.delenv("KEYPOOL_DATABASE_URL", raising=False)
    monkeypatch.setenv("KEYPOOL_POOLER", "transaction")

    with pytest.raises(errors.SettingsError, match="KEYPOOL_POOLER is for a database of your own"):
        settings()


def test_the_embedded_systems_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    first = settings().secret_keys()

    assert settings().secret_keys() == first
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


NEW, OLD = "new" * 11, "old"


def test_spaces_around_the_keys_of_a_list_do_not_count(monkeypatch):
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", f" {NEW}, {OLD} ,, ")

    assert settings().secret_keys()[:2] == [NEW, OLD]


def test_what_was_sealed_with_a_key_and_its_spaces_still_opens(monkeypatch):
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", f" {NEW},{OLD}")

    assert settings().secret_keys()[2:] == [f" {NEW}"]


@pytest.mark.parametrize("keys", ["tiny", "x" * 31, f"tiny,{NEW}", f"  {'x' * 31}  "])
def test_a_new_secret_key_of_less_than_32_bytes_is_refused(monkeypatch, keys):
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", keys)

    with pytest.raises(errors.SettingsError, match="KEYPOOL_SECRET_KEY has a first key of") as told:
        settings()

    assert keys.strip() not in str(told.value)


def test_an_old_secret_key_may_be_short(monkeypatch):
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", f"{'ü' * 16},{OLD}")

    assert settings().secret_keys() == ["ü" * 16, OLD]


def test_a_list_of_spaces_is_no_secret_key(monkeypatch):
    monkeypatch.setenv("KEYPOOL_DATABASE_URL", "postgresql+psycopg://somewhere/keypool")
    monkeypatch.setenv("KEYPOOL_SECRET_KEY", " , ")

    with pytest.raises(errors.SettingsError, match="KEYPOOL_SECRET_KEY must be set"):
        settings()


def test_every_setting_is_in_the_documents_table():
    documented = set(re.findall(r"^\| `(KEYPOOL_\w+)`", OPERATIONS.read_text(), re.MULTILINE))

    assert documented == {f"KEYPOOL_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize(
    ("url", "read"),
    [
        (
            "smtp://user:p%40ss@mail.example:2525",
            MailServer("mail.example", 2525, "by STARTTLS", "user", "p@ss"),
        ),
        ("smtp://mail.example", MailServer("mail.example", 587, "by STARTTLS")),
        ("smtps://mail.example", MailServer("mail.example", 465, "at once")),
        ("smtp://localhost:25", MailServer("localhost", 25, "none")),
        ("smtp://127.0.0.9", MailServer("127.0.0.9", 587, "none")),
        ("smtp://[::1]:25", MailServer("::1", 25, "none")),
        ("smtps://localhost", MailServer("localhost", 465, "at once")),
    ],
)
def test_the_way_to_a_mail_server_is_plain_on_loopback_alone(monkeypatch, url, read):
    monkeypatch.setenv("KEYPOOL_SMTP_URL", url)
    monkeypatch.setenv("KEYPOOL_MAIL_FROM", "keys@example.com")

    assert settings().smtp_url == read


@pytest.mark.parametrize(
    "url",
    ["", "mail.example", "http://mail.example", "smtp://", "smtp://u:secret@mail.example:99999",
     "smtp://u:secret@mail.example/inbox", "smtp://u:25#secret@mail.example", "smtp+tls://u:secret@mail.example"],
)  # fmt: skip
def test_what_is_no_mail_server_is_refused_at_start_without_its_password(monkeypatch, url):
    monkeypatch.setenv("KEYPOOL_SMTP_URL", url)
    monkeypatch.setenv("KEYPOOL_MAIL_FROM", "keys@example.com")

    with pytest.raises(errors.SettingsError, match="KEYPOOL_SMTP_URL: give smtp://") as told:
        settings()

    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("", None),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://u:p%40ss@redis", "redis://u:p%40ss@redis"),
        ("redis+socket://u:p@/run/redis.sock?virtual_host=1",) * 2,
        ("rediss://redis", "rediss://redis?ssl_cert_reqs=required"),
        (
            "rediss://redis/2?ssl_ca_certs=/etc/ca.pem",
            "rediss://redis/2?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=required",
        ),
        ("rediss://redis?ssl_cert_reqs=none", "rediss://redis?ssl_cert_reqs=none"),
    ],
)
def test_the_brokers_certificate_is_checked_unless_somebody_says_not_to(monkeypatch, url, read):
    monkeypatch.setenv("KEYPOOL_REDIS_URL", url)

    assert settings().redis_url == read


@pytest.mark.parametrize(
    "url",
    ["redis", "redis://", "redis+socket://", "unix:///run/redis.sock", "amqp://u:secret@rabbit", "sqs://",
     "redis://u:secret@redis:99999", "redis://u:secret@redis/keys", "redis://u:sec#ret@redis",
     "redis://u:secret@redis?db=1", "redis://u:secret@redis?ssl_ca_certs=/etc/ca.pem", "sentinel://u:secret@a;sentinel://b"],
)  # fmt: skip
def test_what_is_no_broker_is_refused_at_start_without_its_password(monkeypatch, url):
    monkeypatch.setenv("KEYPOOL_REDIS_URL", url)

    with pytest.raises(errors.SettingsError, match="KEYPOOL_REDIS_URL: ") as told:
        settings()

    assert "sec" not in str(told.value)


@pytest.mark.parametrize("address", ["", "keys", "Shop <keys@example.com>", "@example.com"])
def test_mails_come_from_an_address_alone(monkeypatch, address):
    monkeypatch.setenv("KEYPOOL_MAIL_FROM", address)

    with pytest.raises(errors.SettingsError, match="KEYPOOL_MAIL_FROM: give "):
        settings()


def test_a_mail_server_needs_an_address_to_send_from(monkeypatch):
    monkeypatch.setenv("KEYPOOL_SMTP_URL", "smtps://u:secret@mail.example")

    with pytest.raises(errors.SettingsError, match="KEYPOOL_MAIL_FROM must be set") as told:
        settings()

    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "page", "elsewhere"),
    [
        ("https://keys.example.com/", "https://keys.example.com/redeem", True),
        ("https://example.com/keys", "https://example.com/keys/redeem", True),
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081/redeem", False),
        ("", "http://127.0.0.1:8080/redeem", False),
    ],
)
def test_pages_are_under_the_public_address(monkeypatch, given, page, elsewhere):
    monkeypatch.setenv("KEYPOOL_PUBLIC_URL", given)

    assert settings().web_url("/redeem") == page
    assert settings().reaches_others() is elsewhere


@pytest.mark.parametrize(
    "url",
    [
        "keys.example.com",
        "ftp://keys.example.com",
        "https://",
        "https://a.test/?x=1",
        "https://a.test/#x",
    ],
)
def test_a_public_address_that_is_none_is_refused_at_start(monkeypatch, url):
    monkeypatch.setenv("KEYPOOL_PUBLIC_URL", url)

    with pytest.raises(errors.SettingsError, match="KEYPOOL_PUBLIC_URL: give an address such as"):
        settings()
