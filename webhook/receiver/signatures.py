"""Verifying a webhook: size, type, format of the headers, then the signature over the raw bytes."""

import re
from dataclasses import dataclass

from flask import Request
from psycopg import Connection
from werkzeug.exceptions import RequestEntityTooLarge

from webhook.http.problems import TooLargeError, UnknownSenderError, UnsupportedMediaTypeError
from worker import signatures
from worker.redemption import inbox

LARGEST_BODY = 64 * 1024
TOLERANCE = 300  # seconds, in both directions

SOURCE_ID = re.compile(r"[0-9]{1,18}")
# No dots, because the signature covers `id.timestamp.body`, which must split in one way only.
WEBHOOK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
TIMESTAMP = re.compile(r"[0-9]{10}")
LONGEST_SIGNATURE = 1024
MOST_SIGNATURES = 8

# A secret to verify an unknown source's message with, so that timing does not reveal which exist.
DUMMY = inbox.Door(source_id=0, organization_id=0, sealed=[], secrets=[b"\0" * 32], at=0)


@dataclass(frozen=True)
class Signed:
    """A message with well-formed headers, not yet verified."""

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
    """Give the source that signed a message, and set the connection's scope to its organization.

    Raises:
        UnknownSenderError: an unknown source, a wrong signature, or a timestamp more than five
            minutes from the database's time.
    """
    known = SOURCE_ID.fullmatch(source)
    door = inbox.open_door(connection, source_id=int(source)) if known else None
    is_theirs = fits(door or DUMMY, signed)
    if door is None or not is_theirs:
        raise UnknownSenderError("signature_wrong")
    if abs(signed.timestamp - door.at) > TOLERANCE:
        raise UnknownSenderError("stale")
    return door


def fits(door: inbox.Door, signed: Signed) -> bool:
    """Say whether a message's signature was made with one of a source's secrets."""
    return signatures.verify(
        signed.signature,
        door.secrets,
        webhook_id=signed.webhook_id,
        timestamp=signed.timestamp,
        body=signed.body,
    )


def _bounded(request: Request) -> bytes:
    # A body that is a little too large is read whole, so that the sender gets the answer.
    # Werkzeug silently cuts a body without a length at the app's limit.
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
        raise UnknownSenderError("signature_missing")
    return Signed(webhook_id, int(timestamp), signature, body)
