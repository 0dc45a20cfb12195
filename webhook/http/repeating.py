"""Idempotency keys: a POST with the same Idempotency-Key is done once, and has the same answer."""

import hashlib
import json
from collections.abc import Callable

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from webhook.http import languages
from webhook.http.uploads import HASH
from worker.tenancy import answers

IDEMPOTENCY_KEY = "Idempotency-Key"
# An answer's stored headers; the others are each request's own.
KEPT_HEADERS = ("Content-Type", "Content-Language", "Location")


def once(session: Session, token_id: int, act: Callable[[], ResponseReturnValue]) -> Response:
    """Run a request or, if it was done under its key before, give the same answer again.

    The answer is stored in the transaction of the change. A refused request is rolled back and so not
    stored: it may be corrected and sent again under its key.
    """
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None or request.method != "POST":
        return current_app.make_response(act())
    asked = _hash()
    known = answers.begin(session, token_id=token_id, key=key, request=asked)
    if known is not None:
        return _again(known)
    answer = languages.marked(current_app.make_response(act()))
    answers.keep(session, token_id=token_id, key=key, answer=_packed(answer))
    return answer


def _hash() -> bytes:
    """Hash a request, its method, path and body, to recognize it."""
    body = request.environ.get(HASH) or hashlib.sha256(request.get_data()).digest()
    where = json.dumps([request.path, request.query_string.decode("latin-1"), request.mimetype])
    return hashlib.sha256(where.encode() + body).digest()


def _packed(answer: Response) -> bytes:
    headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    return json.dumps([answer.status_code, headers, answer.get_data(as_text=True)]).encode()


def _again(known: bytes) -> Response:
    status, headers, body = json.loads(known)
    return Response(body, status, headers | {"Idempotency-Replayed": "true"})
