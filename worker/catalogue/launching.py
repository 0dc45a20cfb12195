"""Launch links: where a learner opens a course, signed, so that the course's own site can trust it.

The signature covers the assignment and the time until which the link is good; docs/redeem.md shows how a
site checks it.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

from worker import signatures
from worker.tenancy import secrets as sealed

SECRET_BYTES = 32
# A page stays open for a while; a link in a browser's history should not be good for long.
LASTS = timedelta(hours=1)


def make_secret() -> tuple[bytes, str]:
    """Make a secret: encrypted, as it is kept, and in clear."""
    made = secrets.token_bytes(SECRET_BYTES)
    return sealed.encrypt(made), signatures.write_secret(made)


def link(url: str, encrypted: bytes, *, assignment: int, now: int) -> str:
    """Give the link that opens a course for an assignment; `now` in seconds since 1970, unshifted.

    It has the parameters `assignment`, `expires` and `signature` besides those of the launch URL.
    """
    expires = now + int(LASTS.total_seconds())
    parts = urlsplit(url)
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        ("assignment", str(assignment)),
        ("expires", str(expires)),
        ("signature", sign(sealed.decrypt(encrypted), assignment, expires)),
    ]
    return parts._replace(query=urlencode(query)).geturl()


def sign(secret: bytes, assignment: int, expires: int) -> str:
    """Sign an assignment and the link's end: HMAC-SHA256 of `assignment.expires`, in hexadecimal."""
    return hmac.new(secret, f"{assignment}.{expires}".encode(), hashlib.sha256).hexdigest()
