"""Is it alive, and is it ready? For balancers, supervisors and people."""

from datetime import datetime
from typing import Literal

from apiflask import APIBlueprint
from flask import Response
from typing_extensions import TypedDict

from webhook.http.shapes import answer, gives
from worker import errors, tasks
from worker.database import connections, revisions
from worker.database.connections import Login
from worker.settings import settings

blueprint = APIBlueprint("health", __name__, tag="Health")


class Alive(TypedDict):
    """That this process answers."""

    ok: Literal[True]
    """True."""


class Part(TypedDict):
    """Whether something that is needed answers."""

    ok: bool
    """Whether it does."""


class SchemaPart(Part):
    """Whether the database is at a revision that this code runs with."""

    revision: str | None
    """The database's; null where there is none, or nobody can tell."""
    code: str
    """The code's."""
    message: str | None
    """Why they do not fit, and what to do."""


class ClockPart(TypedDict):
    """The one clock, the database's."""

    now: datetime | None
    """What it says; null while the database is away."""
    offset_seconds: float
    """By how much `KEYPOOL_CLOCK_OFFSET` shifts it."""


class Ready(TypedDict):
    """Whether the receiver can keep its promise."""

    ok: bool
    """Whether database and schema are as they should be."""
    database: Part
    """The database."""
    schema: SchemaPart
    """Its revision."""
    broker: Part
    """The broker; without it decisions are delayed, and nothing is refused."""
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
    """Say whether the receiver can keep its promise: the database is there and as it should be.

    A broker that is away delays decisions and refuses nothing, so it is told but counts for
    nothing.
    """
    database, schema, clock = _database()
    told: Ready = {
        "ok": database["ok"] and schema["ok"],
        "database": database,
        "schema": schema,
        "broker": {"ok": tasks.broker_answers()},
        "clock": clock,
    }
    return told if told["ok"] else answer(told, 503)


def _database() -> tuple[Part, SchemaPart, ClockPart]:
    offset = settings().clock_offset.total_seconds()
    away: ClockPart = {"now": None, "offset_seconds": offset}
    try:
        with connections.session(Login.WEB) as session:
            standing = revisions.standing(session)
            clock: ClockPart = {"now": connections.clock_now(session), "offset_seconds": offset}
    except revisions.NotMadeError as error:
        return {"ok": True}, _schema(None, error), away
    except errors.KeypoolError as error:
        return {"ok": False}, _schema(None, error), away
    return {"ok": True}, _schema(standing.revision, standing.refusal()), clock


def _schema(revision: str | None, refusal: errors.KeypoolError | None) -> SchemaPart:
    """Tell which revision the database is at and which this code is of, and why they do not fit."""
    message = str(refusal) if refusal else None
    return {"ok": refusal is None, "revision": revision, "code": revisions.CODE, "message": message}
