"""Health checks: liveness and readiness, for load balancers, supervisors and people."""

from datetime import datetime
from typing import Literal

from apiflask import APIBlueprint
from flask import Response
from typing_extensions import TypedDict

from webhook.http.shapes import answer, gives
from worker import broker, errors
from worker.database import connections, revisions
from worker.database.connections import Login
from worker.outgoing import progress
from worker.settings import settings
from worker.tenancy import web_keys

blueprint = APIBlueprint("health", __name__, tag="Health")


class Alive(TypedDict):
    """This process answers."""

    ok: Literal[True]
    """True."""


class Part(TypedDict):
    """Whether a needed service answers."""

    ok: bool
    """Whether it does."""


class SchemaPart(Part):
    """Whether the database is at a revision that this code runs with."""

    revision: str | None
    """The database's revision; null if it has none or is unreachable."""
    code: str
    """The code's revision."""
    message: str | None
    """Why the two do not fit, and what to do; null if they do."""


class KeyPart(Part):
    """Whether the database knows this process by its `KEYPOOL_SECRET_KEY`; it lets no other in."""

    message: str | None
    """What to do; null if it does, or while the database is unreachable."""


class ClockPart(TypedDict):
    """The one clock, the database's."""

    now: datetime | None
    """The current time; null while the database is unreachable."""
    offset_seconds: float
    """The shift by `KEYPOOL_CLOCK_OFFSET`."""


class WorkPart(Part):
    """Whether the worker gets on: nothing of this stands still for two minutes."""

    inbox_seconds: float | None
    """How long the oldest undecided event has waited; null while the database is unreachable."""
    deliveries_seconds: float | None
    """How long the oldest outgoing event has been due, of endpoints that are not paused."""
    schedule_seconds: float | None
    """How long ago a task of the schedule (beat) last ran; they run every minute."""
    message: str | None
    """What stands still; null if nothing does."""


class Ready(TypedDict):
    """Whether the receiver can record messages."""

    ok: bool
    """Whether database, schema and secret key are ok."""
    database: Part
    """The database."""
    schema: SchemaPart
    """Its revision."""
    secret_key: KeyPart
    """The secret key."""
    broker: Part
    """The broker; without it decisions are delayed, and nothing is refused."""
    work: WorkPart
    """The worker; what stands still is told here, and counts for no status: messages are recorded."""
    clock: ClockPart
    """The clock."""


@blueprint.get("/healthz")
@gives()
def alive() -> Alive:
    """Say that this process answers; it asks nobody else."""
    return {"ok": True}


@blueprint.get("/readyz")
@gives(200, 503)
def ready() -> Ready | Response:
    """Say whether the receiver can record messages: the database answers, fits, and knows this process.

    An unreachable broker and a worker that stands still are reported but do not count: they delay
    decisions and refuse nothing.
    """
    database, schema, key, work, clock = _database()
    readiness: Ready = {
        "ok": database["ok"] and schema["ok"] and key["ok"],
        "database": database,
        "schema": schema,
        "secret_key": key,
        "broker": {"ok": broker.answers()},
        "work": work,
        "clock": clock,
    }
    return readiness if readiness["ok"] else answer(readiness, 503)


def _database() -> tuple[Part, SchemaPart, KeyPart, WorkPart, ClockPart]:
    offset = settings().clock_offset.total_seconds()
    away: ClockPart = {"now": None, "offset_seconds": offset}
    try:
        with connections.session(Login.WEB) as session:
            standing = revisions.standing(session)
            refusal = standing.refusal()
            key = _key(None if refusal else web_keys.refusal(session))
            work = _work(None if refusal else progress.standstill(session))
            clock: ClockPart = {"now": connections.clock_now(session), "offset_seconds": offset}
    except revisions.NotMadeError as error:
        return {"ok": True}, _schema(None, error), _key(None), _work(None), away
    except errors.KeypoolError as error:
        return {"ok": False}, _schema(None, error), _key(None), _work(None), away
    return {"ok": True}, _schema(standing.revision, refusal), key, work, clock


def _key(refusal: str | None) -> KeyPart:
    return {"ok": refusal is None, "message": refusal}


def _work(found: progress.Standstill | None) -> WorkPart:
    inbox, deliveries, schedule = found or (None, None, None)
    message = found.sentence() if found else None
    return {
        "ok": message is None,
        "inbox_seconds": inbox,
        "deliveries_seconds": deliveries,
        "schedule_seconds": schedule,
        "message": message,
    }


def _schema(revision: str | None, refusal: errors.KeypoolError | None) -> SchemaPart:
    """Give the revisions of the database and of this code, and why they do not fit."""
    message = str(refusal) if refusal else None
    return {"ok": refusal is None, "revision": revision, "code": revisions.CODE, "message": message}
