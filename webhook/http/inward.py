"""A message that this app posts to itself, by the same door as everybody's."""

import json
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from flask import Flask
from typing_extensions import TypedDict
from werkzeug.test import Client

from worker import signatures

WAIT_SECONDS = 5


class Tested(TypedDict):
    """A test message, and what the receiver answered."""

    webhook_id: str
    """The `webhook-id` that it had."""
    body: dict[str, Any]
    """What was posted."""
    status: int
    """The answer's HTTP status."""
    answer: dict[str, Any]
    """The answer: the event with its outcome, or why it was refused."""
    ok: bool
    """Whether it was decided as a test is: signature, inbox and worker do what they should."""


def post_test(app: Flask, *, path: str, secret: bytes, now: float) -> Tested:
    """Post a signed message that redeems nothing, and wait for what becomes of it.

    It says that a training of the assignment “0” was launched, which does not exist. `now` is in seconds
    since 1970.
    """
    moment = _moment(now)
    data = {"assignment": "0", "launch": f"test-{uuid4().hex}", "launched_at": moment}
    body = {"type": "training.launched", "timestamp": moment, "data": data}
    name = f"msg_{uuid4().hex}"
    status, answer = copy_context().run(_post, app, path, secret, name, int(now), body)
    decided = answer.get("outcome") == "unknown_assignment"
    return {
        "webhook_id": name,
        "body": body,
        "status": status,
        "answer": answer,
        "ok": status == 200 and decided,
    }


def _moment(now: float) -> str:
    return datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")


def _post(
    app: Flask, path: str, secret: bytes, name: str, now: int, body: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    raw = json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        "Prefer": f"wait={WAIT_SECONDS}",
        "webhook-id": name,
        "webhook-timestamp": str(now),
        "webhook-signature": signatures.sign(secret, name, now, raw),
    }
    response = Client(app.wsgi_app).post(path, data=raw, headers=headers)
    return response.status_code, json.loads(response.get_data())
