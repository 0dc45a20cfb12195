"""Answers made small on their way, for browsers that unpack them; and assets that they may keep."""

import gzip
import hashlib
from functools import cache
from pathlib import Path

from apiflask import APIBlueprint
from flask import Response, request
from flask import url_for as url

STATIC = Path(__file__).parent / "static"
KINDS = {"text/html", "text/css", "text/javascript", "application/javascript"}
SMALLEST, LARGEST = 1_000, 500_000  # bytes; a report's pictures are packed already
FOR_EVER = "public, max-age=31536000, immutable"
FOR_A_DAY = "private, max-age=86400"


def install(blueprint: APIBlueprint) -> None:
    """Let templates name assets."""
    blueprint.add_app_template_global(asset)


def asset(name: str) -> str:
    """Give the address of an asset as it is now: with another content it has another address."""
    return url("console.static", filename=name, v=_version(name))


def keeping() -> str:
    """Say how long the asset that is asked for may be kept."""
    return FOR_EVER if "v" in request.args else FOR_A_DAY


def pack(response: Response) -> None:
    """Compress a page or an asset.

    What a foreign site could learn of our secrets from a page's length, while it has its guesses
    packed together with them (BREACH), it cannot ask for: the session's cookie stays behind on
    requests that others make (SameSite).
    """
    if response.mimetype not in KINDS:
        return
    response.vary.add("Accept-Encoding")
    if not request.accept_encodings["gzip"] or response.status_code == 304:
        return
    response.direct_passthrough = False  # of a file, which is small here
    content = response.get_data()
    if not SMALLEST <= len(content) <= LARGEST:
        return
    is_asset = request.endpoint == "console.static"
    response.set_data(_packed_once(content) if is_asset else gzip.compress(content, 5, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    if etag := response.get_etag()[0]:
        response.set_etag(etag, weak=True)  # the same in meaning, not in bytes


@cache
def _version(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


@cache
def _packed_once(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)
