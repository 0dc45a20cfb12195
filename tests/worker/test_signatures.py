import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from worker import errors, signatures

SECRET = bytes(range(32))
NOW = 1_780_000_000

ids = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
bodies = st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
secrets = st.binary(min_size=24, max_size=64)


def good(header: str, *secrets: bytes, body: bytes = b"{}") -> bool:
    return signatures.verify(header, secrets, webhook_id="msg_1", timestamp=NOW, body=body)


@given(secrets, ids, bodies)
def test_the_standardwebhooks_library_accepts_what_we_sign(secret, webhook_id, body):
    now = int(datetime.now(UTC).timestamp())  # noqa: TID251  # the library asks the machine's clock
    header = signatures.sign(secret, webhook_id, now, body)

    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": header,
    }
    Webhook(signatures.write_secret(secret)).verify(body, headers, json_parse=False)


@given(secrets, ids, bodies)
def test_we_accept_what_the_standardwebhooks_library_signs(secret, webhook_id, body):
    header = Webhook(secret).sign(webhook_id, datetime.fromtimestamp(NOW, UTC), body.decode())

    assert signatures.verify(header, [secret], webhook_id=webhook_id, timestamp=NOW, body=body)


def test_any_of_several_live_secrets_is_good():
    header = signatures.sign(SECRET, "msg_1", NOW, b"{}")

    assert good(header, b"another secret" * 3, SECRET)


def test_one_good_signature_among_malformed_ones_is_enough():
    header = signatures.sign(SECRET, "msg_1", NOW, b"{}")

    assert good(f"v1 v1,, v2,zzz v1a,{'x' * 9} ,, v1,!!! {header}", SECRET)


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "v1",
        "v1,",
        "v1,AAAA",
        "v2,AAAA",
        "é,ü",
        "v1,\udcff".encode("utf-8", "replace").decode(),
    ],
)
def test_a_malformed_signature_is_refused_and_raises_nothing(header):
    assert not good(header, SECRET)


def test_a_signature_of_another_version_is_refused():
    header = signatures.sign(SECRET, "msg_1", NOW, b"{}").replace("v1,", "v2,")

    assert not good(header, SECRET)


@given(st.integers(0, 10_000))
def test_a_changed_byte_of_the_body_is_refused(position):
    body = b'{"type":"redemption.requested"}'
    header = signatures.sign(SECRET, "msg_1", NOW, body)
    at = position % len(body)

    assert not good(header, SECRET, body=body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])


def test_no_secret_accepts_nothing():
    assert not good(signatures.sign(SECRET, "msg_1", NOW, b"{}"))


@given(secrets)
def test_a_secret_is_read_as_it_was_written_padded_or_not(secret):
    written = signatures.write_secret(secret)

    assert signatures.read_secret(written) == secret
    assert signatures.read_secret(written.rstrip("=")) == secret


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_***", "é", "whsec_" + base64.b64encode(b"short").decode()]
)
def test_what_is_no_secret_is_refused_without_repeating_it(secret):
    with pytest.raises(errors.InvalidInputError) as refused:
        signatures.read_secret(secret)

    assert refused.value.field == "secret"
