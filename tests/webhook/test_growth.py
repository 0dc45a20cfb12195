"""What strangers send is read in linear time: headers, cursors, JSON, dates, tables."""

import contextlib

import pytest

from tests.growth import grows_too_fast
from tests.webhook.conftest import Place
from tests.worker.pools.reading.inputs import keys
from webhook.http import strictjson
from webhook.receiver import messages
from worker import days, errors, signatures
from worker.tenancy import addresses
from worker.tenancy.actors import Role

# Repeated, each once was slow in somebody's parser.
PUMPS = [
    ",",
    ", ",
    "; ",
    '"',
    '\\"',
    '",',
    "a=",
    "=1;",
    "wait=1 ",
    " ",
    "%2",
    "é",
    "(",
    "[",
    "1",
    "-",
]
HEADERS = [
    "Accept",
    "Accept-Language",
    "Cookie",
    "Forwarded",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "Range",
    "User-Agent",
    "X-Forwarded-For",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
]
MUCH = 8  # times the sizes of `grows_too_fast`, as a request takes some milliseconds by itself


def refused(read, text):
    with contextlib.suppress(ValueError, errors.KeypoolError):
        read(text)


@pytest.mark.parametrize("pump", PUMPS)
@pytest.mark.parametrize("path", ["/api/v1/pools", "/webhooks/1", "/console/sign-in"])
def test_headers_and_cursors_are_read_in_linear_time(place: Place, path, pump):
    token = place.token(Role.MANAGER)

    def ask(size: int) -> None:
        text = (pump * (MUCH * size // len(pump))).encode().decode("latin-1")
        headers = dict.fromkeys(HEADERS, text) | token
        method = "POST" if path.startswith("/webhooks") else "GET"
        place.client.open(path, method=method, headers=headers, query_string={"after": text[:4000]})

    assert not grows_too_fast(ask)


@pytest.mark.parametrize(
    "document",
    ['"\\"', '{"a":"', "[", "{", '"', "1", "1.", "1e", '{"a":1,', "\\u0000", '"\\', '[{"', "],"],
)
def test_json_is_read_in_linear_time(document):
    deep = "[" * 33  # so that the depth is counted

    def read(size: int) -> None:
        refused(strictjson.parse, deep + '"' + document * (MUCH * size // len(document)))
        refused(messages.read, (document * (MUCH * size // len(document))).encode())

    assert not grows_too_fast(read)


@pytest.mark.parametrize("pump", [*PUMPS, "2026-", "00:", "a@", "a.", "xn--", "v1,AA ", "+/"])
def test_dates_addresses_and_signatures_are_read_in_linear_time(pump):
    signed = {"webhook_id": "msg_1", "timestamp": 1, "body": b"{}"}

    def read(size: int) -> None:
        text = pump * (size // len(pump))
        refused(days.moment, text)
        refused(lambda value: days.instant(value, zone="UTC", field="on"), f"2026-12-31{text}")
        refused(addresses.normal, text)
        refused(addresses.normal, f"a@{text}")
        signatures.verify(text, [b"k" * 32], **signed)

    assert not grows_too_fast(read)


@pytest.mark.parametrize(
    "pump", [*PUMPS, "(", '"\n', '",\n', ',"x\n', '""', "\n", "K7QM-", "1.\n", ";\t"]
)
def test_tables_are_read_in_linear_time(pump):
    def read(size: int) -> None:
        refused(keys, "code,x(\nWELCOME-2026-0001,\n" + pump * (size // len(pump)))
        refused(keys, pump * (size // len(pump) // 4) + "\nWELCOME-2026-0001")

    assert not grows_too_fast(read)
