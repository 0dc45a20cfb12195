"""Pinging: a signed sample is posted to an endpoint now, beside the outbox, and its answer is shown."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from worker.database import lookup
from worker.database.lookup import Id
from worker.outgoing import deliveries, delivering, endpoints, posting
from worker.settings import settings
from worker.tables.labels import DeliveryType
from worker.tables.outgoing import Endpoint
from worker.tables.tenancy import Organization
from worker.tenancy.actors import Actor, Role

PING = "endpoint.ping"
MOMENT = "2026-03-05T09:30:00Z"
AMOUNTS = {"currency": "EUR", "subtotal": "100.00", "tax": "19.00", "total": "119.00"}
ASSIGNMENT = {
    "id": "0", "learner": "ann@example.com", "course": "SAMPLE", "pool": "0", "status": "active",
    "redeemed_at": MOMENT, "expires_at": "2026-09-01T09:30:00Z",
}  # fmt: skip
POOL = {"pool": "0", "name": "Sample pool", "course": "SAMPLE"}
INVOICE = {
    "id": "0", "number": "2026-0001", "kind": "invoice", "month": "2026-02", "status": "finalized",
    "issued_on": "2026-03-01", "due_on": "2026-03-15", "paid_on": None, "open": "119.00", **AMOUNTS,
}  # fmt: skip
REPORT = {
    "id": "0", "notebook": "usage", "from": "2026-02-01", "to": "2026-02-28", "format": "pdf",
    "finished_at": MOMENT,
}  # fmt: skip

# What each type has in its data, of things that do not exist: their ids are 0. The organization is added.
SAMPLES: Mapping[DeliveryType, dict[str, Any]] = MappingProxyType({
    DeliveryType.REDEMPTION_DECIDED: {
        "event": "0", "source": "0", "webhook_id": "sample", "outcome": "redeemed", "pool": "0",
        "course": "SAMPLE", "learner": "ann@example.com", "assignment": "0",
        "access_expires_at": "2026-09-01T09:30:00Z", "received_at": MOMENT,
    },
    DeliveryType.ASSIGNMENT_EXPIRED: {**ASSIGNMENT, "status": "expired"},
    DeliveryType.ASSIGNMENT_CANCELLED: {**ASSIGNMENT, "status": "cancelled"},
    DeliveryType.ASSIGNMENT_EXTENDED: ASSIGNMENT,
    DeliveryType.POOL_LOW: {**POOL, "keys_left": 9, "below": 10},
    DeliveryType.POOL_EXPIRING: {
        **POOL, "expires_at": "2026-03-15T23:00:00Z", "keys_issued": 9, "within_days": 14
    },
    DeliveryType.POOL_UNUSUAL: {
        **POOL, "rule": "sudden_pace", "seen": 20, "among": None, "usual": 3.0, "most": 3,
        "began_at": MOMENT, "message": "Sudden pace: 20 keys were redeemed in 24 hours. "
        "Before, it was 3 a day, and 3 at most.",
    },
    DeliveryType.INVOICE_FINALIZED: INVOICE,
    DeliveryType.INVOICE_PAID: {**INVOICE, "status": "paid", "paid_on": "2026-03-05", "open": "0.00"},
    DeliveryType.INVOICE_PAYMENT_TAKEN_BACK: INVOICE,
    DeliveryType.INVOICE_VOIDED: {**INVOICE, "status": "void", "open": "0.00"},
    DeliveryType.CREDIT_NOTE_FINALIZED: {**INVOICE, "kind": "credit_note", "open": "0.00"},
    DeliveryType.INVOICE_OVERDUE: INVOICE,
    DeliveryType.REPORT_MADE: REPORT,
    DeliveryType.REPORT_FAILED: REPORT,
})  # fmt: skip


class Pinged(TypedDict):
    """A sample that was posted, and what the endpoint answered."""

    endpoint: Id
    """The endpoint's id."""
    url: str
    """Where it was posted."""
    webhook_id: str
    """The `webhook-id` that it had."""
    body: dict[str, Any]
    """What was posted."""
    accepted: bool
    """Whether the endpoint answered with a 2xx."""
    status: int | None
    """The answer's HTTP status; null if there was no answer."""
    error: str | None
    """Why it failed."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True)
class Ping:
    """A sample that is ready to be posted: where, what, and the secrets that sign it."""

    endpoint_id: int
    url: str
    body: dict[str, Any]
    secrets: list[bytes]


def prepare(session: Session, *, actor: Actor, endpoint: str, type: str | None = None) -> Ping:
    """Make an endpoint's sample: of a type of event, else one of `endpoint.ping`, which says only whose it is.

    A paused endpoint, and one that does not get that type, is pinged, too. Nothing is recorded.

    Raises:
        InvalidInputError: the type is unknown.
    """
    actor.require(Role.MANAGER)
    found = endpoints.find(session, actor=actor, name=endpoint)
    now: datetime = session.execute(select(func.clock_now())).scalar_one()
    return Ping(
        found.id,
        found.url,
        _body(session, found, type, now),
        delivering.secrets_of(session, found.id),
    )


def post(ping: Ping) -> Pinged:
    """Post a sample and give the answer; no transaction need be open meanwhile."""
    known, body = settings(), deliveries.encoded(ping.body)
    name, begun = f"msg_{uuid4().hex}", time.monotonic()
    headers = delivering.signed(
        ping.secrets, webhook_id=name, timestamp=int(time.time()), body=body
    )
    patience = known.endpoint_patience.total_seconds()
    with posting.Receiver(ping.url, private=known.private_endpoints, patience=patience) as receiver:
        answer = receiver.post(body, headers)
    return {
        "endpoint": str(ping.endpoint_id),
        "url": ping.url,
        "webhook_id": name,
        "body": ping.body,
        "accepted": answer.taken,
        "status": answer.status,
        "error": answer.error,
        "seconds": round(time.monotonic() - begun, 3),
    }


def _body(session: Session, endpoint: Endpoint, type_: str | None, now: datetime) -> dict[str, Any]:
    if type_ is None:
        moment = now.isoformat().replace("+00:00", "Z")
        return {"type": PING, "timestamp": moment, "data": {"endpoint": str(endpoint.id)}}
    chosen = lookup.label(DeliveryType, type_, field="type")
    owner = session.get_one(Organization, endpoint.organization_id).name
    return {**deliveries.body(chosen, now, {**SAMPLES[chosen], "organization": owner})}
