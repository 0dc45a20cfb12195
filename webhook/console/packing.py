"""Compression of responses, and caching of assets."""

import gzip
import hashlib
from functools import cache
from pathlib import Path

from apiflask import APIBlueprint
from flask import Response, request
from flask import url_for as url

STATIC = Path(__file__).parent / "static"
COMPRESSIBLE = {"text/html", "text/css", "text/javascript", "application/javascript"}
SMALLEST, LARGEST = 1_000, 500_000  # bytes; a report's pictures are compressed already
FOR_EVER = "public, max-age=31536000, immutable"
FOR_A_DAY = "private, max-age=86400"


def install(blueprint: APIBlueprint) -> None:
    """Make asset URLs available in templates."""
    blueprint.add_app_template_global(asset)


def asset(name: str) -> str:
    """Give an asset's URL, which has a hash of its content."""
    return url("console.static", filename=name, v=_version(name))


def keeping() -> str:
    """Give the caching headers of the requested asset."""
    return FOR_EVER if "v" in request.args else FOR_A_DAY


def pack(response: Response) -> None:
    """Compress a page or an asset.

    A foreign site cannot exploit the length of compressed pages (BREACH), because its requests have no
    session cookie (SameSite).
    """
    if response.mimetype not in COMPRESSIBLE:
        return
    response.vary.add("Accept-Encoding")
    if not request.accept_encodings["gzip"] or response.status_code == 304:
        return
    response.direct_passthrough = False  # streamed from a file, which is small here
    content = response.get_data()
    if not SMALLEST <= len(content) <= LARGEST:
        return
    is_asset = request.endpoint == "console.static"
    response.set_data(_packed_once(content) if is_asset else gzip.compress(content, 5, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    if etag := response.get_etag()[0]:
        response.set_etag(etag, weak=True)  # weak: the same meaning, not the same bytes


@cache
def _version(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


@cache
def _packed_once(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)
