"""Is it alive, and is it ready? For balancers, supervisors and people."""

from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify

from worker import errors, tasks
from worker.database import connections, revisions
from worker.database.connections import Login
from worker.settings import settings

blueprint = APIBlueprint("health", __name__, tag="Health")


@blueprint.get("/healthz")
def alive() -> Response:
    """Say that this process answers; it asks nobody else."""
    return jsonify({"ok": True})


@blueprint.get("/readyz")
def ready() -> Response:
    """Say whether the receiver can keep its promise: the database is there and as it should be.

    A broker that is away delays decisions and refuses nothing, so it is told but counts for
    nothing.
    """
    database_told, schema_told, clock_told = _database()
    told = {
        "ok": bool(database_told["ok"] and schema_told["ok"]),
        "database": database_told,
        "schema": schema_told,
        "broker": {"ok": tasks.broker_answers()},
        "clock": clock_told,
    }
    answer = jsonify(told)
    answer.status_code = 200 if told["ok"] else 503
    return answer


def _database() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    offset = settings().clock_offset.total_seconds()
    away = {"now": None, "offset_seconds": offset}
    try:
        with connections.session(Login.WEB) as session:
            standing = revisions.standing(session)
            clock = {"now": connections.clock_now(session), "offset_seconds": offset}
    except revisions.NotMadeError as error:
        return {"ok": True}, _schema(None, error), away
    except errors.KeypoolError:
        return {"ok": False}, {"ok": False}, away
    return {"ok": True}, _schema(standing.revision, standing.refusal()), clock


def _schema(revision: str | None, refusal: errors.KeypoolError | None) -> dict[str, Any]:
    """Tell which revision the database is at and which this code is of, and why they do not fit."""
    told = {"ok": refusal is None, "revision": revision, "code": revisions.CODE}
    return told | ({"message": str(refusal)} if refusal else {})
