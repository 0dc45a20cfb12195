"""Standard Webhooks signatures: signing what `keypool send` posts, verifying what arrives.

The standardwebhooks library allows one secret and one tolerance, and raises raw errors on malformed
input. This is the same scheme (https://www.standardwebhooks.com); tests compare it with the library.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from worker import errors

PREFIX = "whsec_"
FEWEST_SECRET_BYTES = 24


def sign(secret: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Give the `webhook-signature` header of a message: `v1,` and an HMAC-SHA256 in base64."""
    signed = b".".join([webhook_id.encode(), str(timestamp).encode(), body])
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def verify(
    header: str, secrets: Iterable[bytes], *, webhook_id: str, timestamp: int, body: bytes
) -> bool:
    """Say whether one of a header's signatures was made with one of the secrets.

    Every signature is compared with every secret in constant time and without an early exit, so
    that timing reveals nothing. Signatures of other versions than v1 and malformed ones are ignored.
    """
    sent = [token.encode() for token in header.split(" ")]
    expected = [sign(secret, webhook_id, timestamp, body).encode() for secret in secrets]
    return any([hmac.compare_digest(e, g) for e in expected for g in sent])  # noqa: C419


def read_secret(secret: str) -> bytes:
    """Decode a secret in its text form: `whsec_` and base64, padded or not.

    Raises:
        InvalidInputError: it is not one, or shorter than 24 bytes.
    """
    try:
        encoded = secret.strip().removeprefix(PREFIX).rstrip("=")
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) < FEWEST_SECRET_BYTES:
        raise errors.InvalidInputError(
            "That is not a signing secret; give the whsec_… that “keypool sources add” printed.",
            field="secret",
        )
    return raw


def write_secret(secret: bytes) -> str:
    """Encode a secret in its text form: `whsec_` and base64."""
    return PREFIX + base64.b64encode(secret).decode()
