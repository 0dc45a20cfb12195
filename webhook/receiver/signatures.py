"""A webhook's way in: size, type, header shapes, then the signature over the raw bytes."""

import re
from dataclasses import dataclass

from flask import Request
from psycopg import Connection
from werkzeug.exceptions import RequestEntityTooLarge

from webhook.http.problems import TooLargeError, UnknownSenderError, UnsupportedMediaTypeError
from worker import signatures
from worker.redemption import inbox

LARGEST_BODY = 64 * 1024
TOLERANCE = 300  # seconds, both ways

SOURCE_ID = re.compile(r"[0-9]{1,18}")
# No dots: `id.timestamp.body` could be split elsewhere.
WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
TIMESTAMP = re.compile(r"[0-9]{10}")
LONGEST_SIGNATURE = 1024
MOST_SIGNATURES = 8

# What an unknown source's message is compared with, so that it takes as long as a known one's.
DUMMY = inbox.Door(source_id=0, organization_id=0, secrets=[b"\0" * 32], at=0)


@dataclass(frozen=True)
class Signed:
    """A message as it came, its headers well formed; nobody has verified it yet."""

    webhook_id: str
    timestamp: int
    signature: str
    body: bytes


def read(request: Request) -> Signed:
    """Read a message's headers and raw bytes.

    Raises:
        TooLargeError: the body has over 64 KiB.
        UnsupportedMediaTypeError: it is not plain application/json.
        UnknownSenderError: a signature header is missing or malformed.
    """
    body = _bounded(request)
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaTypeError
    if "Content-Encoding" in request.headers:
        raise UnsupportedMediaTypeError
    return _well_formed(request, body)


def verify(connection: Connection, source: str, signed: Signed) -> inbox.Door:
    """Give the source that signed a message, and let the connection see its organization.

    Raises:
        UnknownSenderError: no such source, another's signature, or a time more than five minutes
            from the database's.
    """
    known = SOURCE_ID.fullmatch(source)
    door = inbox.open_door(connection, source_id=int(source)) if known else None
    asked = door or DUMMY
    fits = signatures.verify(
        signed.signature,
        asked.secrets,
        webhook_id=signed.webhook_id,
        timestamp=signed.timestamp,
        body=signed.body,
    )
    if door is None or not fits or abs(signed.timestamp - door.at) > TOLERANCE:
        raise UnknownSenderError
    return door


def _bounded(request: Request) -> bytes:
    # What is a little too large is read whole, so that its sender is still there for the answer.
    # Werkzeug cuts a body without a length off at the app's limit, and says nothing.
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise TooLargeError from None
    if len(body) > LARGEST_BODY:
        raise TooLargeError
    return body


def _well_formed(request: Request, body: bytes) -> Signed:
    webhook_id = request.headers.get("webhook-id", "")
    timestamp = request.headers.get("webhook-timestamp", "")
    signature = request.headers.get("webhook-signature", "")
    if not (
        WEBHOOK_ID.fullmatch(webhook_id)
        and TIMESTAMP.fullmatch(timestamp)
        and 0 < len(signature) <= LONGEST_SIGNATURE
        and signature.count(" ") < MOST_SIGNATURES
    ):
        raise UnknownSenderError
    return Signed(webhook_id, int(timestamp), signature, body)
