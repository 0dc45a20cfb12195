"""What pages and assets weigh, and for how long browsers keep them."""

import gzip
import re

import pytest

from webhook.console import packing
from webhook.console.packing import STATIC

PACKED = {"Accept-Encoding": "gzip"}


@pytest.fixture
def reader(somebody):
    return somebody().client


@pytest.fixture
def assets(reader) -> list[str]:
    return re.findall(r'(?:href|src)="(/console/static/[^"]+)"', reader.get("/console/pools").text)


def test_a_page_is_packed_for_browsers_that_unpack_it_and_for_no_other(reader):
    plain, packed = reader.get("/console/pools"), reader.get("/console/pools", headers=PACKED)

    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert b"Training key pools" in gzip.decompress(packed.data)
    assert len(packed.data) < len(plain.data) / 2
    assert "accept-encoding" in plain.vary.as_set() & packed.vary.as_set()


def test_an_asset_is_packed_and_kept_until_its_content_changes(reader, assets):
    for address in assets:
        answer = reader.get(address, headers=PACKED)

        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        content = (STATIC / address.split("/")[-1].split("?")[0]).read_bytes()
        is_small = len(content) < packing.SMALLEST
        assert (answer.data if is_small else gzip.decompress(answer.data)) == content


def test_an_asset_without_its_version_is_asked_for_again_and_not_sent_again(reader):
    first = reader.get("/console/static/console.css", headers=PACKED)
    again = reader.get(
        "/console/static/console.css", headers=PACKED | {"If-None-Match": first.headers["ETag"]}
    )

    assert first.headers["Cache-Control"] == "private, max-age=86400"
    assert again.status_code == 304


def test_a_page_weighs_no_more_than_100_kb_with_all_that_it_loads(reader, assets, things):
    pages = ["/pools", "/pools/new", "/pools/{pool}", "/events", "/users"]
    loaded = sum(len(reader.get(address, headers=PACKED).data) for address in assets)

    weights = [
        loaded + len(reader.get(f"/console{page.format(**things.ids)}", headers=PACKED).data)
        for page in pages
    ]

    assert max(weights) < 100_000
